"""Embedding in the hub: choice of the model, the queue, engine crashes, and the built-in model."""

import asyncio
import os
import signal
from contextlib import aclosing
from pathlib import Path

import pytest
from llmctld.engine.embed.convert import convert
from llmctld.models.catalogue import builtin
from llmctld.models.catalogue.builtin import NAME, Builtin
from llmctld.models.catalogue.catalog import Catalog
from llmctld.pipeline.compute.embed import Embedding

from llmctl.config import Limits, ModelEntry
from llmctl.errors import Busy, EngineFailed, InvalidRequest, LlmctlError, ModelUnavailable
from llmctl.wire import TEXTS, Embed, Embeddings, Notice
from tests import tiny_bert
from tests.hub.scene import a_catalog, a_residency, in_loop, until


@pytest.fixture(scope="module")
def gguf(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_bert.write(tmp_path_factory.mktemp("bert") / "tiny")
    convert(folder, folder.with_suffix(".gguf"))
    return folder.with_suffix(".gguf")


class Room:
    """A catalog with `tiny` and `echo`, its engines, and the embedding service."""

    def __init__(self, folder: Path, gguf: Path, limits: Limits | None = None) -> None:
        self.catalog = a_catalog(folder, echo={})
        self.catalog.add("tiny", str(gguf), [], {}, False)
        self.residency = a_residency(self.catalog, folder)
        self.embedding = Embedding(self.residency, self.choose, limits or Limits())

    async def choose(self, name: str | None) -> ModelEntry:
        return self.catalog.choose(name, "embedding")

    async def ask(self, *texts: str, model: str | None = None) -> tuple[Embeddings, list[str]]:
        notices: list[str] = []
        async with aclosing(self.embedding(Embed(texts=list(texts), model=model, user="ana"))) as events:
            async for event in events:
                if isinstance(event, Embeddings):
                    return event, notices
                assert isinstance(event, Notice)
                notices.append(event.text)
        raise AssertionError("no vectors")


@in_loop
async def test_model_is_loaded_once_and_each_text_gets_a_vector(tmp_path: Path, gguf: Path) -> None:
    room = Room(tmp_path, gguf)
    try:
        found, notices = await room.ask("cat", "", "dog")
        assert notices == ["loading tiny"]
        assert (found.model, found.dimension, len(found.vectors)) == ("tiny", 64, 3 * 64 * 4)
        assert [(flaw.index, flaw.code) for flaw in found.flaws] == [(1, "invalid_request")]
        assert (await room.ask("cat"))[1] == []
    finally:
        await room.residency.close()


@in_loop
async def test_engine_crash_is_retried_once(tmp_path: Path, gguf: Path) -> None:
    room = Room(tmp_path, gguf)
    try:
        await room.ask("cat")

        pid = room.residency.statuses()[0].pid
        os.kill(pid, signal.SIGSTOP)  # so that it cannot answer before it is killed
        asked = asyncio.create_task(room.ask("cat"))
        await until(lambda: not room.residency._pool.models["tiny"].replicas[0].worker.unused.is_set())
        os.kill(pid, signal.SIGKILL)
        assert len((await asked)[0].vectors) == 64 * 4
        assert room.residency.statuses()[0].pid != pid
    finally:
        await room.residency.close()


@in_loop
async def test_repeated_engine_crashes_are_an_error(
    tmp_path: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = Room(tmp_path, gguf)
    tries = 0

    async def dies(entry: ModelEntry, request: Embed, notices: list[str]) -> Embeddings:
        nonlocal tries
        tries += 1
        raise EngineFailed("the engine of tiny died")

    monkeypatch.setattr(room.embedding, "_attempt", dies)
    try:
        with pytest.raises(EngineFailed):
            await room.ask("cat")
        assert tries == 2
    finally:
        await room.residency.close()


@in_loop
async def test_full_queue_is_refused_as_busy(tmp_path: Path, gguf: Path) -> None:
    room = Room(tmp_path, gguf, Limits(queue=1))
    try:
        await room.ask("cat")
        pid = room.residency.statuses()[0].pid
        os.kill(pid, signal.SIGSTOP)
        slots = room.residency.slots(room.catalog.find("tiny"))
        asked = [asyncio.create_task(room.ask("cat")) for _ in range(slots + 1)]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="the queue of tiny is full"):
            await room.ask("dog")
        os.kill(pid, signal.SIGCONT)
        for each in await asyncio.gather(*asked):
            assert each[0].flaws == []
    finally:
        await room.residency.close()


@in_loop
async def test_cancelled_request_leaves_no_work(tmp_path: Path, gguf: Path) -> None:
    room = Room(tmp_path, gguf)
    try:
        await room.ask("cat")
        worker = room.residency._pool.models["tiny"].replicas[0].worker
        os.kill(pid := room.residency.statuses()[0].pid, signal.SIGSTOP)  # so that it cannot answer before
        asked = asyncio.create_task(room.ask(*["the cat sleeps"] * TEXTS))
        await until(lambda: not worker.unused.is_set())
        asked.cancel()
        os.kill(pid, signal.SIGCONT)
        with pytest.raises(asyncio.CancelledError):
            await asked
        await until(lambda: worker.busy == 0)
        assert worker.unused.is_set()
    finally:
        await room.residency.close()


@pytest.mark.parametrize(
    ("texts", "model", "error", "words"),
    [
        ([], None, InvalidRequest, "there are 0 texts"),
        (["a"] * (TEXTS + 1), None, InvalidRequest, f"between 1 and {TEXTS}"),
        (["a" * 200], None, InvalidRequest, "a text has 200 bytes"),
        (["a"], "echo", InvalidRequest, "the model echo produces text, not embeddings"),
        (["a"], "tany", ModelUnavailable, "tany"),
    ],
)
def test_invalid_requests_are_refused_with_the_reason(
    tmp_path: Path, gguf: Path, texts: list[str], model: str | None, error: type[LlmctlError], words: str
) -> None:
    room = Room(tmp_path, gguf, Limits(prompt_bytes=100))  # type: ignore[arg-type]  # a Size is an int
    with pytest.raises(error, match=words):
        asyncio.run(room.ask(*texts, model=model))


def test_embedding_model_is_refused_for_text_generation(tmp_path: Path, gguf: Path) -> None:
    room = Room(tmp_path, gguf)
    assert room.catalog.choose(None, "text").name == "echo"
    with pytest.raises(InvalidRequest, match="the model tiny produces embeddings, not text") as caught:
        room.catalog.choose("tiny", "text")
    assert "llmctl embed -m tiny" in caught.value.hint


# ---- the model that a package brings --------------------------------------------------------------------------------


@in_loop
async def test_built_in_model_is_converted_once_and_added_to_the_catalog(tmp_path: Path) -> None:
    catalog = a_catalog(tmp_path)
    made = Builtin(catalog, tmp_path / "cache")
    first, again, named = await asyncio.gather(made.choose(None), made.choose(None), made.choose(NAME))
    assert first == again == named == catalog.find(NAME)
    assert (first.kind, first.backend, first.settings) == ("embedding", "llama.cpp", {"context": 256})
    file = Path(first.target)
    written = file.stat().st_mtime_ns
    assert (await Builtin(Catalog(tmp_path / "models", {}), tmp_path / "cache").choose(None)).target == str(file)
    assert file.stat().st_mtime_ns == written
    file.unlink()
    await made.choose(None)
    assert file.exists(), "an emptied cache is filled again"
    assert [each.name for each in file.parent.iterdir()] == [file.name]


@in_loop
async def test_added_embedding_model_is_preferred_to_the_built_in_one(tmp_path: Path, gguf: Path) -> None:
    catalog = a_catalog(tmp_path)
    made = Builtin(catalog, tmp_path / "cache")
    await made.choose(None)
    catalog.add("mine", str(gguf), ["m"], {}, False)
    assert (await made.choose(None)).name == "mine"
    assert (await made.choose("m")).name == "mine"
    assert (await made.choose(NAME)).name == NAME


@in_loop
async def test_missing_package_error_states_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "PACKAGE", "no-such-package")
    with pytest.raises(ModelUnavailable, match="no-such-package") as caught:
        await Builtin(a_catalog(tmp_path), tmp_path / "cache").choose(None)
    assert "llmctl[semantic]" in caught.value.hint


@in_loop
async def test_weights_with_another_sha256_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtin, "SHA256", "0" * 64)
    with pytest.raises(ModelUnavailable, match="SHA-256"):
        await Builtin(a_catalog(tmp_path), tmp_path / "cache").choose(None)
    assert list((tmp_path / "cache").iterdir()) == []
