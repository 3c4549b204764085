"""A draft model proposes its own greedy continuation, whatever its streams held before."""

import random
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from llmctld.engine.core.draft_model import DraftModel, DraftRequest, agreement, likeliest
from llmctld.engine.llama.model import Gguf
from llmctld.engine.streams.sequence import Chunk, Sequence

from tests.engine.driver import llama
from tests.stress.scale import count, seeded
from tests.tiny_gguf import write

STREAMS, BATCH = 3, 64


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> tuple[Gguf, Gguf]:
    """The draft model, and a second instance of the same file that computes each prompt from scratch."""
    path = Path(tmp_path_factory.mktemp("models")) / "sharp.gguf"
    write(path, sharp=8)
    first, second = (
        Gguf(llama(path, slots=STREAMS, batch=BATCH, kv_type="f32", flash_attention=False)) for _ in range(2)
    )
    return first, second


@pytest.fixture
def model(twins: tuple[Gguf, Gguf]) -> Gguf:
    return twins[0]


@pytest.fixture
def slow(twins: tuple[Gguf, Gguf]) -> Gguf:
    return twins[1]


def greedy(slow: Gguf, tokens: list[int], most: int) -> list[int]:
    text = list(tokens)
    for _ in range(most):
        slow.cut(0, 0)
        for start in range(0, len(text), BATCH):
            (row,) = slow.logits([Chunk(Sequence(0, text, len(text), 1), 0, start, min(BATCH, len(text) - start))])
        assert row is not None
        text.append(int(row.argmax()))
    return text[len(tokens) :]


def drafts(model: Gguf, floor: float = 0.0) -> DraftModel:
    return of_words(model, model._vocabulary.size, floor)


def of_words(model: Gguf, words: int, floor: float = 0.0) -> DraftModel:
    for stream in range(STREAMS):
        model.cut(stream, 0)
    return DraftModel(model, STREAMS, BATCH, words, floor)


def ask(draft: DraftModel, asks: dict[int, DraftRequest]) -> dict[int, list[int]]:
    draft.seat({id: tokens for id, (tokens, _) in asks.items()})
    said = draft.propose(asks)
    draft.check()
    return {id: proposal.tokens for id, proposal in said.items()}


def words(dice: random.Random, length: int) -> list[int]:
    return [1, *(dice.randrange(263, 300) for _ in range(length))]


def test_drafts_equal_greedy_output_for_texts_that_grow_branch_end_and_return(model: Gguf, slow: Gguf) -> None:
    """Three at once; in each round one accepts part of its draft, diverges from it, or is replaced by a new text."""
    dice, draft = seeded(), drafts(model)
    texts = {id: words(dice, dice.randrange(1, 20)) for id in range(3)}
    for round in range(count(200) + 10):
        asks = {id: DraftRequest(text, dice.randrange(1, 6)) for id, text in texts.items() if dice.random() < 0.8}
        draft.seat(texts)
        said = draft.propose(asks)
        draft.check()
        for id, (text, most) in asks.items():
            assert said[id].tokens == greedy(slow, text, most)
            kept = dice.randrange(most + 1)
            text += [*said[id].tokens[:kept], dice.randrange(263, 300)]
            if len(text) > 50:
                del texts[id]
                texts[100 + round + id] = words(dice, 9) if dice.random() < 0.5 else text[: dice.randrange(1, 40)]


def test_long_text_is_read_in_chunks_and_delays_others_by_one_chunk_at_most(model: Gguf, slow: Gguf) -> None:
    dice, draft = random.Random(1), drafts(model)
    long, short = words(dice, 200), words(dice, 5)
    rounds = 0
    while not (said := ask(draft, {0: DraftRequest(long, 2), 1: DraftRequest(short, 2)}))[0]:
        assert said[1] == greedy(slow, short, 2)
        assert max(took.rows for took in draft.took) <= BATCH
        rounds += 1
    assert rounds == 200 // (BATCH // 2)
    assert said[0] == greedy(slow, long, 2)


def test_stream_of_an_ended_request_is_reused_by_one_with_the_same_prefix(model: Gguf) -> None:
    dice, draft = random.Random(2), drafts(model)
    first, other = words(dice, 20), words(dice, 20)
    ask(draft, {0: DraftRequest(first, 1), 1: DraftRequest(other, 1)})
    longer = [*other, *words(dice, 4)]
    draft.seat({7: longer})
    assert draft.tokens_missing(7, len(longer)) == 5
    draft.took.clear()
    draft.propose({7: DraftRequest(longer, 1)})
    assert [took.rows for took in draft.took] == [5]


def test_running_request_keeps_its_stream_while_it_asks_for_no_draft(model: Gguf) -> None:
    dice, draft = random.Random(3), drafts(model)
    texts = {id: words(dice, 15) for id in range(3)}
    ask(draft, {id: DraftRequest(text, 1) for id, text in texts.items()})
    for _ in range(3):
        draft.seat(texts)
        draft.propose({0: DraftRequest(texts[0], 2)})
    draft.took.clear()
    draft.propose({2: DraftRequest(texts[2], 1)})
    assert [took.rows for took in draft.took] == [1]


def test_draft_ends_at_the_first_token_below_the_confidence_floor(model: Gguf) -> None:
    tokens = words(random.Random(4), 10)
    sure = drafts(model, 0.0)
    sure.seat({0: tokens})
    whole = sure.propose({0: DraftRequest(tokens, 8)})[0]
    assert not whole.doubted
    floor = sorted(whole.sure)[2]
    doubting = drafts(model, floor)
    doubting.seat({0: tokens})
    some = doubting.propose({0: DraftRequest(tokens, 8)})[0]
    assert some.doubted
    assert all(each >= floor for each in some.sure)
    assert whole.tokens[: len(some.tokens)] == some.tokens
    assert whole.sure[len(some.tokens)] < floor


def test_draft_model_with_nan_logits_proposes_nothing(model: Gguf, monkeypatch: pytest.MonkeyPatch) -> None:
    draft = drafts(model)
    nothing = np.full(model._vocabulary.size, np.nan, np.float32)
    monkeypatch.setattr(model, "logits", lambda chunks: [nothing for _ in chunks])
    draft.seat({0: [1, 270]})
    assert draft.propose({0: DraftRequest([1, 270], 4)})[0] == ([], [], True)


def test_tokens_that_only_the_draft_model_has_are_never_proposed(model: Gguf) -> None:
    draft = of_words(model, 270)
    tokens = [1, 265, 266]
    draft.seat({0: tokens})
    assert all(token < 270 for token in draft.propose({0: DraftRequest(tokens, 6)})[0].tokens)


def test_check_finds_a_stream_whose_contents_differ(model: Gguf) -> None:
    draft = drafts(model)
    ask(draft, {0: DraftRequest(words(random.Random(5), 10), 3)})
    model.cut(draft._seats[0].stream, 2)
    with pytest.raises(RuntimeError, match="does not hold the"):
        draft.check()


def test_likelihood_equals_the_softmax() -> None:
    logits = np.array([1.0, 3.0, 2.0], np.float32)
    token, sure = likeliest(logits)
    assert token == 1
    assert sure == pytest.approx(float(np.exp(logits[1]) / np.exp(logits).sum()))


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_agreement_is_the_length_of_the_common_prefix(first: list[int], second: list[int]) -> None:
    expected = next(
        (at for at, (one, other) in enumerate(zip(first, second, strict=False)) if one != other),
        min(len(first), len(second)),
    )
    assert agreement(first, second) == expected
