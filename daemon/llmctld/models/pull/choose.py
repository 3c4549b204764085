"""Which files of a repository make the model that was asked for: one GGUF file, its parts, or a folder of safetensors.

It knows names and sizes, and nothing of how they are fetched.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llmctl.errors import ModelUnavailable, nearest
from llmctld.models.catalogue import split

WANTED = ("Q4_K_M", "Q4_0", "Q8_0")
"""Where no file is named: the largest of these that fits."""
LISTED = 30
"""Files of a repository that an error names."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
BESIDE = re.compile(
    r"(?:\d+_\w+/)?(?:[\w.-]+\.safetensors(?:\.index\.json)?|[\w.-]*config[\w.-]*\.json|tokenizer[\w.-]*\.json|vocab[\w.-]*|"
    r"merges\.txt|special_tokens_map\.json|added_tokens\.json|modules\.json|chat_template[\w.-]*|[\w.-]+\.model|"
    r"[\w.-]+\.tiktoken)"
)
"""What an engine reads, weights included: at the top, and in the numbered folders of sentence-transformers."""
WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
"""As transformers names them; where there are such, others beside them are the same weights once more."""


class RepoFile(NamedTuple):
    """A file of a repository. `digest`: sha256 of its content, or SHA-1 as git computes it; empty where unknown."""

    name: str
    size: int
    digest: str


class FileChoice(NamedTuple):
    """`files` in the order in which they are fetched; `target`: the one that names the model, empty for the folder."""

    files: list[RepoFile]
    target: str
    name: str

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def choose(repo: str, files: Sequence[RepoFile], wanted: str | None, room: int) -> FileChoice:
    """`room`: bytes that a model may take. Raises ModelUnavailable with what is there, where nothing can be taken."""
    models = _models(files)
    if wanted is not None:
        return _whole(repo, models, _named(repo, files, models, wanted))
    if models:
        return _whole(repo, models, _largest(repo, files, models, room))
    return _folder(repo, files)


def _models(files: Iterable[RepoFile]) -> dict[str, list[RepoFile]]:
    """The GGUF files of each model, by the name that they have in common; projectors of images are no models."""
    found: dict[str, list[RepoFile]] = {}
    for file in sorted(files):
        if file.name.lower().endswith(".gguf") and "mmproj" not in file.name.lower():
            found.setdefault(split.whole(file.name), []).append(file)
    return found


def _named(repo: str, files: Sequence[RepoFile], models: dict[str, list[RepoFile]], wanted: str) -> str:
    """The model of a file, of a part of it, or the only one of a quantisation: `REPO:Q8_0`."""
    for name, its in models.items():
        if wanted == name or any(wanted == file.name for file in its):
            return name
    alike = [name for name in models if _is(wanted, name)]
    if len(alike) == 1:
        return alike[0]
    near = nearest(wanted, [file.name for its in models.values() for file in its])
    close = near if near.startswith("Did") else ""
    what = "has no GGUF file" if not alike else f"has {len(alike)} models that are"
    raise ModelUnavailable(f"{repo} {what} {wanted!r}", f"{close} {listing(repo, files)}".strip())


def _is(quantisation: str, name: str) -> bool:
    """Whether the name holds it as a word of its own: Q4_0 is no part of Q4_0_4_4."""
    return bool(re.search(rf"(?<![A-Za-z0-9_]){re.escape(quantisation)}(?![A-Za-z0-9_])", name, re.IGNORECASE))


def _largest(repo: str, files: Sequence[RepoFile], models: dict[str, list[RepoFile]], room: int) -> str:
    sizes = {name: sum(file.size for file in its) for name, its in models.items()}
    known = [name for name in models if any(_is(wanted, name) for wanted in WANTED)]
    fitting = [name for name in known if sizes[name] <= room]
    if not fitting:
        what = f"{', '.join(WANTED[:-1])} or {WANTED[-1]}"
        which = f"that fits into {size(room)} of memory" if known else "among its files"
        raise ModelUnavailable(f"{repo} has no {what} {which}", listing(repo, files))
    return max(fitting, key=lambda name: (sizes[name], name))


def _whole(repo: str, models: dict[str, list[RepoFile]], name: str) -> FileChoice:
    """All parts of a model. Raises ModelUnavailable that names the first one that the repository lacks."""
    there = {file.name: file for file in models[name]}
    needed = split.names(models[name][0].name)
    for part in needed:
        if part not in there:
            raise ModelUnavailable(f"{repo} lacks {part}, a part of {name}", "Take another model of that repository.")
    short = name.rpartition("/")[2]
    return FileChoice([there[part] for part in needed], needed[0], short[: -len(".gguf")])


def _folder(repo: str, files: Sequence[RepoFile]) -> FileChoice:
    taken = [file for file in files if BESIDE.fullmatch(file.name) and not file.name.lower().endswith(PICKLES)]
    names = {file.name for file in taken}
    if any(WEIGHTS.fullmatch(name) for name in names):
        twice = [n for n in names if "/" not in n and n.endswith(".safetensors") and not WEIGHTS.fullmatch(n)]
        taken = [file for file in taken if file.name not in twice]
    weights = any(name.endswith(".safetensors") for name in names)
    if weights and ("config.json" in names or "modules.json" in names):
        return FileChoice(sorted(taken), "", repo.rpartition("/")[2])
    pickles = any(file.name.lower().endswith(PICKLES) for file in files)
    why = "; its weights are pickles, which may run code when they are read" if pickles else ""
    raise ModelUnavailable(
        f"{repo} holds no model that can be used: no GGUF file, and no safetensors with a config.json{why}",
        listing(repo, files),
    )


def listing(repo: str, files: Sequence[RepoFile]) -> str:
    """What a repository holds, its models first, in a sentence."""
    if not files:
        return f"{repo} is empty."
    ranked = sorted(files, key=lambda file: (not file.name.lower().endswith(".gguf"), file.name))
    told = ", ".join(f"{file.name} ({size(file.size)})" for file in ranked[:LISTED])
    more = f", and {len(ranked) - LISTED} more" if len(ranked) > LISTED else ""
    return f"There is: {told}{more}."


def size(count: int) -> str:
    """In the unit that leaves the fewest digits before the point."""
    value, units = float(count), iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    for larger in units:
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
