"""Chooses the files of a repository that make up a model: a GGUF file, its parts, or a folder of safetensors.

Knows names and sizes, not how files are downloaded.
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from llmctl.errors import ModelUnavailable, nearest
from llmctld.models.catalogue import split

WANTED = ("Q4_K_M", "Q4_0", "Q8_0")
"""Quantizations taken if no file is named: the largest that fits."""
LISTED = 30
"""Files of a repository listed in an error."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".h5", ".msgpack")
BESIDE = re.compile(
    r"(?:\d+_\w+/)?(?:[\w.-]+\.safetensors(?:\.index\.json)?|[\w.-]*config[\w.-]*\.json|tokenizer[\w.-]*\.json|vocab[\w.-]*|"
    r"merges\.txt|special_tokens_map\.json|added_tokens\.json|modules\.json|chat_template[\w.-]*|[\w.-]+\.model|"
    r"[\w.-]+\.tiktoken)"
)
"""Files that an engine reads, weights included: at the top level and in the numbered folders of sentence-transformers.
"""
WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")
"""Names of weights in transformers; if these exist, other safetensors beside them are duplicates."""


class RepoFile(NamedTuple):
    """A file of a repository. `digest`: its SHA-256, or its SHA-1 as git computes it; empty if unknown."""

    name: str
    size: int
    digest: str


class FileChoice(NamedTuple):
    """`files`: in download order. `target`: the file that names the model, empty for a folder."""

    files: list[RepoFile]
    target: str
    name: str

    @property
    def size(self) -> int:
        return sum(file.size for file in self.files)


def choose(repo: str, files: Sequence[RepoFile], wanted: str | None, room: int) -> FileChoice:
    """`wanted`: a file name or quantization. `room`: bytes of memory for a model. Raises ModelUnavailable with a list
    of the files.
    """
    models = _models(files)
    if wanted is not None:
        return _whole(repo, models, _named(repo, files, models, wanted))
    if models:
        return _whole(repo, models, _largest(repo, files, models, room))
    return _folder(repo, files)


def _models(files: Iterable[RepoFile]) -> dict[str, list[RepoFile]]:
    """Model name -> its GGUF files. Image projectors (mmproj) are not models."""
    found: dict[str, list[RepoFile]] = {}
    for file in sorted(files):
        if file.name.lower().endswith(".gguf") and "mmproj" not in file.name.lower():
            found.setdefault(split.whole(file.name), []).append(file)
    return found


def _named(repo: str, files: Sequence[RepoFile], models: dict[str, list[RepoFile]], wanted: str) -> str:
    """The model with that name, with that file as a part, or the only one with that quantization: `REPO:Q8_0`."""
    for name, its in models.items():
        if wanted == name or any(wanted == file.name for file in its):
            return name
    alike = [name for name in models if _is(wanted, name)]
    if len(alike) == 1:
        return alike[0]
    near = nearest(wanted, [file.name for its in models.values() for file in its])
    close = near if near.startswith("Did") else ""
    what = "has no GGUF file" if not alike else f"has {len(alike)} models that match"
    raise ModelUnavailable(f"{repo} {what} {wanted!r}", f"{close} {listing(repo, files)}".strip())


def _is(quantisation: str, name: str) -> bool:
    """Whether the name contains the quantization as a word: Q4_0 does not match Q4_0_4_4."""
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
    """All parts of a model. Raises ModelUnavailable with the first part that the repository lacks."""
    there = {file.name: file for file in models[name]}
    needed = split.names(models[name][0].name)
    for part in needed:
        if part not in there:
            raise ModelUnavailable(f"{repo} lacks {part}, a part of {name}", "Choose another model of the repository.")
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
    why = "; its weights are pickles, which can run code when they are loaded" if pickles else ""
    raise ModelUnavailable(
        f"{repo} contains no usable model: no GGUF file, and no safetensors with a config.json{why}",
        listing(repo, files),
    )


def listing(repo: str, files: Sequence[RepoFile]) -> str:
    """One sentence with the files of a repository, GGUF files first."""
    if not files:
        return f"{repo} is empty."
    ranked = sorted(files, key=lambda file: (not file.name.lower().endswith(".gguf"), file.name))
    told = ", ".join(f"{file.name} ({size(file.size)})" for file in ranked[:LISTED])
    more = f", and {len(ranked) - LISTED} more" if len(ranked) > LISTED else ""
    return f"It contains: {told}{more}."


def size(count: int) -> str:
    """The count in the largest unit that keeps it at 1 or more."""
    value, units = float(count), iter(("B", "KiB", "MiB", "GiB", "TiB"))
    unit = next(units)
    for larger in units:
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
