"""The embedding loop: requests that arrive during a batch join the next one, and a failing text affects no other."""

from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from time import monotonic

import llama_cpp.llama_cpp as lib
import msgspec
import numpy as np
import pytest
from llmctld.engine.core.loop import Inbox
from llmctld.engine.embed import gguf as embed_gguf
from llmctld.engine.embed.convert import convert
from llmctld.engine.embed.gguf import GgufEmbedder
from llmctld.engine.embed.loop import Embedder, EmbedLoop, Reading, Vectors
from llmctld.engine.errors import LoadError
from llmctld.engine.messages import Close, Command, Drop, Embedded, Load, Refused, Report, Step, Submit, Texts
from llmctld.engine.serve import _embedder

from tests import tiny_bert


def load(path: Path, **options: object) -> Load:
    plain = Load(
        name="tiny", backend="llama.cpp", kind="embedding", path=str(path), threads=1, slots=8, memory_bytes=2**30
    )
    return msgspec.structs.replace(plain, **options)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bert.write(tmp_path_factory.mktemp("bert") / "tiny")


@pytest.fixture(scope="module")
def gguf(folder: Path) -> Path:
    convert(folder, folder.with_suffix(".gguf"))
    return folder.with_suffix(".gguf")


@pytest.fixture(scope="module")
def model(gguf: Path) -> GgufEmbedder:
    return GgufEmbedder(load(gguf, batch=64, context=32))


class Watched:
    """A real embedder that records the texts of each batch in `batches`."""

    def __init__(self, inner: Embedder) -> None:
        self._inner = inner
        self.loaded, self.batch_tokens = inner.loaded, inner.batch_tokens
        self.batches: list[list[str]] = []

    def read(self, text: str, prompt: str | None) -> Reading:
        return self._inner.read(text, prompt)

    def embed(self, readings: Sequence[Reading]) -> Vectors:
        self.batches.append([reading.text for reading in readings])
        return self._inner.embed(readings)


class Driver:
    """Steps a loop by hand."""

    def __init__(self, embedder: Embedder) -> None:
        self.inbox: Inbox = SimpleQueue()
        self.steps: list[Step] = []
        self.ends: dict[int, Embedded | Refused] = {}
        self.loop = EmbedLoop(embedder, self.inbox, self._hear)

    def send(self, command: Command) -> None:
        self.inbox.put((monotonic(), command))

    def embed(self, *texts: str, id: int = 1, prompt: str | None = None) -> Embedded:
        self.send(Texts(id=id, texts=list(texts), prompt=prompt))
        while id not in self.ends:
            self.loop.step()
        return self.embedded(id)

    def embedded(self, id: int) -> Embedded:
        found = self.ends[id]
        assert isinstance(found, Embedded)
        return found

    def _hear(self, report: Report) -> None:
        assert isinstance(report, Step)
        self.steps.append(report)
        for event in report.events:
            assert isinstance(event, Embedded | Refused)
            assert event.id not in self.ends, "a request ended twice"
            self.ends[event.id] = event


def rows(found: Embedded) -> Vectors:
    return np.frombuffer(found.vectors, "<f4").reshape(-1, tiny_bert.HIDDEN)


def test_batched_texts_have_the_same_vectors_as_alone(model: GgufEmbedder) -> None:
    texts = ["the old bridge", "a cat", "hello, world!", "the river runs", "dog", "the the the the the the the"]
    together = rows(Driver(model).embed(*texts))
    alone = np.concatenate([rows(Driver(model).embed(text)) for text in texts])
    assert (together * alone).sum(axis=1) == pytest.approx(1.0, abs=1e-5)
    assert np.linalg.norm(together, axis=1) == pytest.approx(1.0, abs=1e-5)
    assert len({tuple(row) for row in together.round(3)}) == len(texts)


def test_requests_that_arrive_during_a_batch_form_the_next_batch(model: GgufEmbedder) -> None:
    watched = Watched(model)
    driver = Driver(watched)
    driver.send(Texts(id=1, texts=["cat"]))
    driver.loop.step()
    for id in range(2, 6):
        driver.send(Texts(id=id, texts=[f"dog {id}"]))
    driver.loop.step()
    assert watched.batches == [["cat"], ["dog 2", "dog 3", "dog 4", "dog 5"]]
    assert set(driver.ends) == {1, 2, 3, 4, 5}


def test_single_text_does_not_wait_for_a_request_with_a_thousand_texts(model: GgufEmbedder) -> None:
    watched = Watched(model)
    driver = Driver(watched)
    driver.send(Texts(id=1, texts=["the cat sleeps"] * 1000))
    driver.loop.step()
    driver.send(Texts(id=2, texts=["dog"]))
    driver.loop.step()
    assert set(driver.ends) == {2}
    assert "dog" in watched.batches[1]
    assert len(watched.batches[0]) == len(watched.batches[1]) == model.loaded.slots
    waiting = driver.steps[-1].waiting
    assert waiting == 1000 - len(watched.batches[0]) - len(watched.batches[1]) + 1


def test_batch_stays_within_its_token_limit(model: GgufEmbedder) -> None:
    watched = Watched(model)
    long = "the " * 28
    Driver(watched).embed(*[long] * 5, "cat")
    for batch in watched.batches:
        assert sum(len(model.read(text, None).tokens) for text in batch) <= model.batch_tokens == 64


def test_short_batches_use_one_thread_and_long_ones_use_all(gguf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = GgufEmbedder(load(gguf, batch=64, context=32, threads=2))
    parameters = lib.llama_model_n_params(model._model)
    monkeypatch.setattr(embed_gguf, "LITTLE", parameters * 10)
    model = GgufEmbedder(load(gguf, batch=64, context=32, threads=2))
    threads = []
    for text in ("cat", "the " * 8, "the " * 9):  # plus the tokens before and after the text
        model.embed([model.read(text, None)])
        threads.append(lib.llama_n_threads_batch(model._context))
    assert threads == [1, 1, 2]


def test_bad_text_fails_alone_with_the_reason(model: GgufEmbedder) -> None:
    found = Driver(model).embed("cat", "the " * 40, " \n", "dog")
    long, empty = found.flaws
    assert (long.index, long.code) == (1, "context_overflow")
    assert "42 tokens" in long.message
    assert "at most 32" in long.message
    assert (empty.index, empty.code) == (2, "invalid_request")
    vectors = rows(found)
    assert np.isnan(vectors[1:3]).all()
    assert np.isfinite(vectors[[0, 3]]).all()
    assert found.tokens == sum(len(model.read(text, None).tokens) for text in ("cat", "dog"))


def test_nan_in_one_text_fails_only_that_text(tmp_path: Path) -> None:
    """In a shared call the others' attention weights of 0 times NaN would make theirs NaN too."""
    folder = tiny_bert.write(tmp_path / "broken", broken=True)
    convert(folder, tmp_path / "broken.gguf")
    found = Driver(GgufEmbedder(load(tmp_path / "broken.gguf"))).embed("cat", f"the {tiny_bert.NAN}", "dog")
    (flaw,) = found.flaws
    assert (flaw.index, flaw.code) == (1, "engine_failed")
    assert "NaN" in flaw.message
    assert np.isfinite(rows(found)[[0, 2]]).all()


def test_library_error_for_one_text_fails_only_that_text(model: GgufEmbedder) -> None:
    class Choosy(Watched):
        def embed(self, readings: Sequence[Reading]) -> Vectors:
            if any("dog" in reading.text for reading in readings):
                raise BaseException("no dogs")  # as a panic in a library written in Rust
            return super().embed(readings)

    found = Driver(Choosy(model)).embed("cat", "dog", "river")
    (flaw,) = found.flaws
    assert (flaw.index, flaw.code) == (1, "engine_failed")
    assert "no dogs" in flaw.message
    assert np.isfinite(rows(found)[[0, 2]]).all()


def test_cancelled_request_ends_once_and_does_not_affect_others(model: GgufEmbedder) -> None:
    driver = Driver(model)
    driver.send(Texts(id=1, texts=["cat"] * 100))
    driver.send(Texts(id=2, texts=["dog"] * 10))
    driver.loop.step()
    driver.send(Drop(1))
    driver.send(Drop(99))
    driver.loop.step()
    cancelled = driver.ends[1]
    assert isinstance(cancelled, Refused)
    assert cancelled.code == "cancelled"
    assert np.isfinite(rows(driver.embedded(2))).all()


def test_generation_request_to_an_embedding_engine_is_refused(model: GgufEmbedder) -> None:
    driver = Driver(model)
    driver.send(Submit(id=7, max_tokens=5))
    driver.send(Close())
    driver.loop.run()
    refused = driver.ends[7]
    assert isinstance(refused, Refused)
    assert refused.code == "invalid_request"


def test_named_prompt_is_prepended_to_the_text(gguf: Path) -> None:
    driver = Driver(GgufEmbedder(load(gguf, prompts={"query": "query: "})))
    asked = driver.embed("cat", prompt="query", id=1)
    assert (rows(asked) == rows(driver.embed("query: cat", id=2))).all()
    assert not (rows(asked) == rows(driver.embed("cat", id=3))).all()
    (flaw,) = driver.embed("cat", prompt="quarry", id=4).flaws
    assert flaw.code == "invalid_request"
    assert "quarry" in flaw.message
    assert "query" in flaw.hint


def test_typed_control_token_names_are_read_as_text(folder: Path, gguf: Path) -> None:
    """Control tokens appear only at both ends and, for GGUF files, where the model's prompts contain them."""
    sep, cls, mask = (tiny_bert.VOCABULARY.index(name) for name in ("[SEP]", "[CLS]", "[MASK]"))
    prompts = {"marked": "[MASK] query: "}
    on_torch = _embedder(load(folder, backend="sentence-transformers", prompts=prompts))
    in_gguf = GgufEmbedder(load(gguf, prompts=prompts))
    for model in (on_torch, in_gguf):
        tokens = list(model.read("the [SEP] cat [MASK] [CLS]", None).tokens)
        assert (tokens[0], tokens[-1]) == (cls, sep)
        assert not {sep, cls, mask} & set(tokens[1:-1])
        assert len(tokens) == len(model.read("the (sep) cat (mask) (cls)", None).tokens)
    assert list(in_gguf.read("the [MASK]", "marked").tokens).count(mask) == 1
    assert list(on_torch.read("the [MASK]", "marked").tokens).count(mask) == 0
    assert [notice for notice in on_torch.loaded.notices if "[MASK], which is read as text" in notice]


@pytest.mark.parametrize("pooling", ["mean_tokens", "cls_token", "lasttoken"])
@pytest.mark.parametrize("normalize", [True, False])
def test_both_engines_give_the_same_vectors(tmp_path: Path, pooling: str, normalize: bool) -> None:
    folder = tiny_bert.write(tmp_path / "tiny", pooling=pooling, normalize=normalize, seed=3)
    convert(folder, tmp_path / "tiny.gguf")
    texts = ["the old bridge", "a cat sleeps.", "hello", "query: is the river old?", "xyz 123"]
    torch = Driver(_embedder(load(folder, backend="sentence-transformers")))
    llama = Driver(_embedder(load(tmp_path / "tiny.gguf", normalize=normalize)))
    one, other = rows(torch.embed(*texts)), rows(llama.embed(*texts))
    lengths = np.linalg.norm(one, axis=1)
    assert np.linalg.norm(other, axis=1) == pytest.approx(lengths, rel=2e-3)
    cosines = (one * other).sum(axis=1) / lengths / np.linalg.norm(other, axis=1)
    assert cosines.min() >= 0.9999
    assert (np.abs(lengths - 1) < 1e-5).all() == normalize


def test_torch_folder_refuses_long_texts_instead_of_truncating_and_knows_its_prompts(tmp_path: Path) -> None:
    folder = tiny_bert.write(tmp_path / "tiny", prompts={"query": "query: ", "document": ""}, longest=16)
    driver = Driver(_embedder(load(folder, backend="sentence-transformers", prompts={"mine": "the "})))
    found = driver.embed("cat", "the " * 14, "the " * 15, id=1)
    (flaw,) = found.flaws
    assert (flaw.index, flaw.code) == (2, "context_overflow")
    assert "17 tokens" in flaw.message
    asked = rows(driver.embed("cat", prompt="query", id=2))
    assert asked == pytest.approx(rows(driver.embed("query: cat", id=3)), abs=1e-5)
    assert rows(driver.embed("cat", prompt="mine", id=4)) == pytest.approx(
        rows(driver.embed("the cat", id=5)), abs=1e-5
    )
    (flaw,) = driver.embed("the " * 13, prompt="query", id=6).flaws
    assert flaw.code == "context_overflow", "the tokens of the named prompt count too"
    (flaw,) = driver.embed("cat", prompt="quarry", id=7).flaws
    assert flaw.code == "invalid_request"
    assert "query, document, mine" in flaw.hint


def test_token_outside_the_models_vocabulary_fails_only_that_text(tmp_path: Path) -> None:
    folder = tiny_bert.write(tmp_path / "tiny")
    with (folder / "vocab.txt").open("a") as file:
        file.write("beyond\n")
    found = Driver(_embedder(load(folder, backend="sentence-transformers"))).embed("cat", "beyond", "dog")
    (flaw,) = found.flaws
    assert (flaw.index, flaw.code) == (1, "invalid_request")
    assert f"the id {len(tiny_bert.VOCABULARY)}" in flaw.message
    assert np.isfinite(rows(found)[[0, 2]]).all()


def test_normalisation_can_be_switched_off(folder: Path) -> None:
    driver = Driver(_embedder(load(folder, backend="sentence-transformers", normalize=False)))
    assert abs(np.linalg.norm(rows(driver.embed("the cat"))) - 1) > 0.01


def refuse(words: str, path: Path, **options: object) -> None:
    with pytest.raises(LoadError) as caught:
        _embedder(load(path, **options))
    assert words in caught.value.message
    assert str(path.name) in caught.value.message
    assert caught.value.hint


def test_load_errors_state_the_reason(folder: Path, gguf: Path, tmp_path: Path) -> None:
    refuse("64 positions", gguf, context=65)
    refuse("cannot read", tmp_path / "none.gguf")
    torch = "sentence-transformers"
    refuse("at most 32 tokens", folder, backend=torch, context=33)
    refuse("modules.json cannot be read", tmp_path / "none", backend=torch)
    broken = tiny_bert.write(tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"\0" * 100)
    refuse("cannot load", broken, backend=torch)
    (broken / "model.safetensors").rename(broken / "pytorch_model.bin")
    refuse("a pickle", broken, backend=torch)


def test_unknown_device_is_refused_with_a_list_of_devices(folder: Path) -> None:
    with pytest.raises(LoadError, match="torch finds no device xpu:7") as caught:
        _embedder(load(folder, backend="sentence-transformers", device="xpu:7"))
    assert "Available: cpu" in caught.value.hint


def test_memory_error_states_needed_and_allowed_memory(folder: Path, gguf: Path) -> None:
    for path, backend in ((gguf, "llama.cpp"), (folder, "sentence-transformers")):
        with pytest.raises(LoadError, match=r"does not fit in memory: .* MiB, but may use only 0.0 MiB"):
            _embedder(load(path, backend=backend, memory_bytes=1000))
