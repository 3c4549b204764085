"""With drafts the text is the same, token for token, in fewer steps; and the KV cache holds exactly that text."""

import random
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as lib
import pytest
from llmctld.engine.drafts.speculation import ROWS, Price, Speculation, free
from llmctld.engine.errors import Refusal
from llmctld.engine.llama.model import Gguf
from llmctld.engine.messages import Finished
from llmctld.engine.streams.sequence import Chunk

from tests.engine.driver import Driver, llama
from tests.stress.scale import count, seeded
from tests.tiny_gguf import UNKNOWN, write

LOOP = "to be or not to be, " * 8


class Wide(Gguf):
    """Computes at least two rows, in float32, so that results are bit-identical however a sequence is split into steps.

    ggml multiplies a single row in another order than several, and its flash attention computes 64 and more in 16 bits.
    """

    def __init__(self, path: Path, speculation: str, draft: str = "") -> None:
        defaults = lib.llama_context_default_params

        def plainly() -> Any:
            parameters = defaults()
            parameters.flash_attn_type = lib.LLAMA_FLASH_ATTN_TYPE_DISABLED
            return parameters

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lib, "llama_context_default_params", plainly)
            super().__init__(llama(path, slots=3, retained=2, kv_type="f32", speculation=speculation, draft=draft))

    def decode(self, chunks: list[Chunk]) -> list[list[int] | Refusal]:
        for chunk in chunks:
            if chunk.samples and not chunk.draft:
                chunk.draft.append(UNKNOWN)
        return super().decode(chunks)


@pytest.fixture(scope="module")
def plain(files: Path) -> Gguf:
    """The slow reference: it never drafts."""
    return Wide(files / "base.gguf", "off")


@pytest.fixture(scope="module")
def model(files: Path) -> Gguf:
    return Wide(files / "base.gguf", "ngram")


class Given(Speculation):
    """The cost of a row is given instead of measured; if it is 0, every draft is used whole."""

    def __init__(self, row_ms: float) -> None:
        super().__init__()
        self._row_ms = row_ms

    def measured(self, rows: dict[int, int], ms: float) -> None:
        super().measured(rows, 10 + self._row_ms * sum(rows.values()))

    def lengths(self, chances: dict[int, list[float]], room: int, price: Price = free) -> dict[int, int]:
        if self._row_ms:
            return super().lengths(chances, room, price)
        share = min(room, ROWS) // len(chances)
        return {stream: min(share, len(each)) for stream, each in chances.items()}


class Counting(Driver):
    """Counts steps, and checks after each that the stream of every running request holds exactly what was computed."""

    def __init__(self, model: Gguf, row_ms: float = 0.0, **options: Any) -> None:
        super().__init__(model, **options)
        self.loop.scheduler.batcher.speculation = Given(row_ms)
        self.rounds = 0
        self.tokens: dict[int, list[int]] = {}
        self._kv = lib.llama_get_memory(model._context)

    def step(self, count: int = 1) -> None:
        for _ in range(count):
            super().step()
            self.rounds += 1
            for sequence in self.loop.scheduler.running.values():
                self.tokens[sequence.id] = sequence.tokens
                if sequence.position:
                    assert lib.llama_memory_seq_pos_max(self._kv, sequence.stream) == sequence.position - 1


def story(dice: random.Random, length: int) -> str:
    """A text of repeated words."""
    words = ["".join(dice.choices("etaoinshrdlu", k=dice.randrange(2, 7))) for _ in range(6)]
    return " ".join(dice.choices(words, k=length // 5))[:length]


def true(done: Finished) -> None:
    """Checks the counts: every token took a step of its own, except accepted drafts and the one of the prompt step."""
    assert done.drafted is not None
    assert done.accepted is not None
    assert 0 <= done.accepted <= min(done.drafted, done.completion_tokens - 1)


def test_repeating_text_takes_a_fraction_of_the_steps(tmp_path: Path) -> None:
    write(tmp_path / "circle.gguf", forgetful=True)
    slow, fast = (Counting(Wide(tmp_path / "circle.gguf", speculation), row_ms=2) for speculation in ("off", "ngram"))
    options: dict[str, Any] = {"max_tokens": 300, "ignore_eos": True}
    expected, got = slow.ask("why?", **options), fast.ask("why?", **options)
    assert got.text == expected.text
    assert (expected.done.drafted, expected.done.accepted) == (None, None)
    true(got.done)
    assert slow.rounds - fast.rounds == got.done.accepted
    assert fast.rounds < slow.rounds / 4


def test_single_requests_give_the_same_tokens_with_drafts(model: Gguf, plain: Gguf) -> None:
    """Greedy and sampled, with penalties, and cut short by stop strings."""
    dice = seeded()
    accepted = 0
    for _ in range(count(500)):
        options: dict[str, Any] = {"max_tokens": dice.randrange(1, 150), "ignore_eos": dice.random() < 0.7}
        if dice.random() < 0.4:
            options |= {"temperature": 0.5, "seed": dice.randrange(100)}
        if dice.random() < 0.3:
            options |= {"repeat_penalty": 1.1, "presence_penalty": 0.2}
        if dice.random() < 0.3:
            options |= {"stop": [dice.choice("etaoinsh"), "".join(dice.choices("etao", k=2))]}
        prompt, batch = story(dice, dice.randrange(1, 200)), dice.choice((16, 64, 256))
        expected, got = (
            Counting(plain, batch=batch).ask(prompt, **options),
            Counting(model, batch=batch).ask(prompt, **options),
        )
        assert got.text == expected.text, (prompt, options)
        assert got.done.completion_tokens == expected.done.completion_tokens
        assert got.done.reason == expected.done.reason
        true(got.done)
        accepted += got.done.accepted or 0
    assert accepted > count(500)


def test_random_schedules_with_drafts_equal_single_requests_without(model: Gguf, plain: Gguf) -> None:
    dice = seeded()
    accepted = 0
    for _ in range(count(100)):
        fast = Counting(model, batch=dice.choice((16, 64, 256)))
        asked: dict[int, tuple[str, dict[str, Any]]] = {}
        for _ in range(dice.randrange(2, 7)):
            options: dict[str, Any] = {"max_tokens": dice.randrange(1, 120), "ignore_eos": dice.random() < 0.7}
            prompt = story(dice, dice.randrange(1, 200))
            asked[fast.submit(prompt, **options)] = prompt, options
            for _ in range(dice.randrange(0, 20)):
                if not fast.loop.scheduler.idle:
                    fast.step()
        fast.run()
        for id, (prompt, options) in asked.items():
            slow = Counting(plain)
            expected, got = slow.ask(prompt, **options), fast.replies[id]
            assert got.text == expected.text or tied(plain, fast.tokens[id], slow.tokens[1]), (prompt, options)
            true(got.done)
            accepted += got.done.accepted or 0
    assert accepted > count(100)


def tied(plain: Gguf, got: list[int], expected: list[int]) -> bool:
    """Whether two texts diverge at equally likely tokens: streams that share a batch are rounded differently."""
    at = next(at for at, (one, other) in enumerate(zip(got, expected, strict=False)) if one != other)
    Driver(plain).ask([], tokens=expected[:at], max_tokens=1)
    logits = lib.llama_get_logits_ith(plain._context, -2)  # the last row is that of the draft
    return bool(abs(logits[got[at]] - logits[expected[at]]) < 1e-4)


def test_stop_string_within_a_draft_leaves_a_reusable_kv_cache(model: Gguf, plain: Gguf) -> None:
    text = Driver(plain).ask(LOOP, max_tokens=200, ignore_eos=True).text
    stop = text[120:124]
    fast = Counting(model)
    reply = fast.ask(LOOP, max_tokens=200, ignore_eos=True, stop=[stop])
    assert reply.text == text[: text.index(stop)]
    scheduler = fast.loop.scheduler
    held = [(stream, len(scheduler.streams.held(stream))) for stream in scheduler.streams.free]
    for stream, tokens in held:
        assert lib.llama_memory_seq_pos_max(fast._kv, stream) == tokens - 1 or not tokens
    longer = LOOP + reply.text + "and"
    assert fast.ask(longer, max_tokens=50).text == Driver(plain).ask(longer, max_tokens=50).text


def test_wrong_drafts_do_not_change_the_answer(model: Gguf, plain: Gguf, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row is sampled from the model's own distribution, whatever the draft."""
    dice = random.Random(3)
    fast = Counting(model)
    decode = model.decode

    def noisy(chunks: list[Chunk]) -> list[list[int] | Refusal]:
        for chunk in chunks:
            if chunk.sequence.is_decoding and chunk.sequence.tokens_left > 4:
                chunk.draft[:] = [dice.randrange(3, 200) for _ in range(3)]
        return decode(chunks)

    monkeypatch.setattr(model, "decode", noisy)
    for options in ({}, {"temperature": 0.9, "seed": 4}):
        reply = fast.ask("why?", max_tokens=60, ignore_eos=True, **options)
        assert reply.text == Driver(plain).ask("why?", max_tokens=60, ignore_eos=True, **options).text
        assert (reply.done.accepted or 0) < (reply.done.drafted or 0) / 10


def test_drafts_never_exceed_the_context(model: Gguf) -> None:
    done = Counting(model).ask("ab" * 240, max_tokens=10_000, ignore_eos=True).done
    assert done.prompt_tokens + done.completion_tokens == model.loaded.context
    assert done.reason == "length"


def test_a_reproducible_request_never_speculates(model: Gguf) -> None:
    fast = Counting(model)
    done = fast.ask(LOOP, max_tokens=100, ignore_eos=True, repro=True).done
    assert (done.drafted, done.accepted) == (None, None)
    assert fast.rounds == 100
