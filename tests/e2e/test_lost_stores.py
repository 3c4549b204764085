"""Every file that the hub keeps is lost under it: that is said once, what comes after is kept, and what memory knows stays.

One hub for all; each kind of loss happens to every file at once.
"""

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from tests import tiny_gguf
from tests.e2e.house import House, Outcome, gone, until, with_signal
from tests.e2e.house import house as a_house

ANSWERS, VECTORS = "cache/answers/cache.db", "cache/semantic/*/index/vectors.bin"
STORES = {
    "state/history.db": "the history",
    "cache/cache.db": "the index of the cache",
    ANSWERS: "the disk level of the cache",
    "cache/semantic/*/semantic.db": "the file of stored questions",
    VECTORS: "vectors.bin",
    "cache/semantic/current.json": "the name of the embedding model",
    "cache/prefetch.db": "the file of prefetch",
    "cache/learned.json": "the file of learned lifetimes",
    "state/hashes.json": "the file of hashes",
    "state/measured.json": "the file of measured memory",
    "models/echo.json": "the file of the model echo",
}
"""Pattern of each file -> how a notice names the store."""


def remove(path: Path) -> None:
    path.unlink()


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"another file" * 2000)
    other.rename(path)


HARMS: dict[Callable[[Path], None], str] = {remove: "was removed", truncate: "was truncated", replace: "was replaced"}
COUNTRIES: dict[Callable[[Path], None], str] = {remove: "France", truncate: "Spain", replace: "Italy"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A hub with every store in use."""
    model = tmp_path_factory.mktemp("model") / "tiny.gguf"
    tiny_gguf.write(model, seed=7, context=256, layers=1, dim=32)
    with a_house(LLMCTL_CACHE__PREFETCH__ENABLED="true", LLMCTL_CACHE__SEMANTIC__ENABLED="true") as made:
        made.echo()
        made.ok("models", "add", "tiny", model)
        made.ok("ask", "a", "-m", "tiny", "--max-tokens", "1", "-q")
        ask(made, "hello")
        made.ok("ask", "hello", "--refresh")  # a second answer: from then on a lifetime is learned
        until(lambda: all(files(made, pattern) for pattern in STORES), what="every file")
        yield made


def files(house: House, pattern: str) -> list[Path]:
    return list(house.place.glob(pattern))


def ask(house: House, text: str) -> Outcome:
    return house.ok("ask", text, "--json", "--no-stdin")


def on_disk(house: House, key: object) -> bool:
    with closing(sqlite3.connect(house.place / ANSWERS, timeout=5)) as answers:
        return bool(answers.execute("SELECT 1 FROM Cache WHERE key = ?", (key,)).fetchall())


@pytest.mark.parametrize("harm", HARMS)
def test_every_store_that_is_lost_under_a_running_hub_is_said_once_and_begun_anew(
    house: House, harm: Callable[[Path], None]
) -> None:
    word = harm.__name__
    key = ask(house, f"before {word}").last["cache"]["key"]
    paths = {pattern: files(house, pattern)[0] for pattern in STORES}
    if harm is truncate:  # the index is emptied, hence truncated, when the database of its questions is lost
        del paths[VECTORS]
    for path in paths.values():
        harm(path)
    said = [ask(house, f"after {word}").err]

    silent = {STORES[pattern] for pattern in paths}

    def everything_is_said() -> bool:
        said.append(house.ok("ask", f"after {word}", "--no-stdin").err)
        silent.difference_update([name for name in silent if notices(said, name)])
        return not silent

    with suppress(AssertionError):
        until(everything_is_said)
    assert not silent, said
    for pattern, path in paths.items():
        (notice,) = notices(said, name := STORES[pattern])
        changed = HARMS[harm] if pattern.endswith((".db", ".bin")) or harm is not truncate else "was changed"
        assert f"{name} {changed}" in notice
        kept = path.parent if pattern == ANSWERS else path  # a level is set aside with its folder
        assert bool(list(kept.parent.glob(f"{kept.name}.damaged-*"))) == (harm is not remove)
    assert ask(house, f"after {word}").err.count("was ") == 0
    question = f"What is the capital of {COUNTRIES[harm]}?"
    assert ask(house, question).last["cache"]["hit"] is None
    until(lambda: on_disk(house, key), what="memory's answers are on disk again")
    with_signal(house.hub(), signal.SIGKILL)
    gone([house.hub()])
    assert ask(house, f"after {word}").last["cache"]["hit"] == "disk"
    assert ask(house, f"before {word}").last["cache"]["hit"] == "disk", "memory had it, and it was written again"
    prompts = [row["prompt"] for row in house.records("prompt")]
    assert prompts[0] == f"after {word}", "the history was begun anew"
    assert [line["name"] for line in house.ok("models", "ls", "--json").lines if line["name"] == "echo"] == ["echo"]
    assert ask(house, question.lower().rstrip("?")).last["cache"]["hit"] == "semantic"
    for path in house.place.rglob("*.damaged-*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def notices(said: list[str], name: str) -> list[str]:
    return [line for line in "".join(said).splitlines() if f"{name} was " in line]


@pytest.mark.parametrize("folder", ["state", "cache"])
def test_other_models_load_and_the_log_goes_on_when_a_folder_was_removed(folder: str) -> None:
    with a_house() as house:
        house.echo().echo("other")
        house.ok("ask", "one", "--no-stdin")
        shutil.rmtree(house.place / folder)
        assert house.ok("ask", "two", "-m", "other", "--no-stdin").out == "two\n"
        assert "a model is loaded" in house.ok("daemon", "logs").out
        assert house.ok("ask", "one", "--no-stdin", "--json").last["cache"]["hit"] == "memory"
