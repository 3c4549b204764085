"""Choosing the next token from a row of logits: the effect of each option, compared with llama.cpp's own sampler chain."""

import math
from collections import Counter
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np
import pytest
from llmctld.engine.answer.choice import Choice
from llmctld.engine.answer.sampling import PENALTY_WINDOW, SamplingDefaults
from llmctld.engine.errors import Refusal
from llmctld.engine.forms.grammar import of_bytes
from llmctld.engine.messages import Submit

SIZE = 257


class Letters:
    """A vocabulary of bytes."""

    words = of_bytes()

    def shown(self, token: int) -> str:
        return chr(token)


def a_choice(prompt: list[int] | None = None, bias: dict[int, float] | None = None, **options: Any) -> Choice:
    submit = Submit(id=1, max_tokens=9, **{"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, **options})
    return Choice(submit, SamplingDefaults(), Letters(), bias or {}, prompt or [], 256)


def a_row(seed: int) -> "np.ndarray[Any, np.dtype[np.float32]]":
    return np.random.default_rng(seed).normal(0, 3, SIZE).astype(np.float32)


@pytest.mark.parametrize(
    "options", [{"top_k": 5}, {"top_p": 0.6}, {"min_p": 0.2}, {"top_k": 9, "top_p": 0.8, "min_p": 0.1, "temperature": 1.7}]
)  # fmt: skip
def test_candidates_match_llama_cpps_sampler_chain(options: dict[str, Any]) -> None:
    """The same candidates, with about the same frequencies."""
    row = a_row(3)
    candidates = (lib.llama_token_data * SIZE)(*(lib.llama_token_data(token, row[token], 0.0) for token in range(SIZE)))
    array = lib.llama_token_data_array(candidates, SIZE, -1, False)
    chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_k(int(options.get("top_k", 0))))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_top_p(options.get("top_p", 1.0), 1))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_min_p(options.get("min_p", 0.0), 1))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_temp(options.get("temperature", 1.0)))
    lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_dist(1))
    lib.llama_sampler_apply(chain, array)
    expected = {array.data[place].id: array.data[place].p for place in range(array.size)}
    lib.llama_sampler_free(chain)
    choice, draws = a_choice(seed=5, **options), 4000
    drawn = Counter(choice.pick(row.copy()) for _ in range(draws))
    assert set(drawn) <= set(expected)
    for token, chance in expected.items():
        assert drawn[token] / draws == pytest.approx(chance, abs=0.04)


def test_temperature_zero_picks_the_largest_logit_and_is_plain_only_without_other_options() -> None:
    row = a_row(1)
    choice = a_choice(temperature=0.0)
    assert choice.is_plain
    assert choice.pick(row.copy()) == row.argmax()
    others: list[dict[str, Any]] = [{"logprobs": 1}, {"temperature": 0.1}, {"presence_penalty": 1.0}, {"schema": "{}"}]
    for other in others:
        assert not a_choice(**{"temperature": 0.0, **other}).is_plain
    assert not a_choice(temperature=0.0, bias={3: 1.0}).is_plain


def test_same_seed_gives_the_same_tokens() -> None:
    rows = [a_row(seed) for seed in range(20)]
    one, same, other, none = (a_choice(seed=seed) for seed in (7, 7, 8, None))
    said = [[choice.pick(row.copy()) for row in rows] for choice in (one, same, other, none)]
    assert said[0] == said[1]
    assert len({tuple(each) for each in said}) == 3


def test_penalties_count_prompt_and_answer_tokens_within_the_window() -> None:
    row = np.zeros(SIZE, np.float32)
    row[5], row[6], row[7] = 3.0, 2.5, 2.0
    greedy: dict[str, Any] = {"temperature": 0.0}
    assert a_choice([5], repeat_penalty=2.0, **greedy).pick(row.copy()) == 6
    assert a_choice([5, *[9] * PENALTY_WINDOW], repeat_penalty=2.0, **greedy).pick(row.copy()) == 5
    choice = a_choice([], presence_penalty=0.7, **greedy)
    assert [choice.pick(row.copy()) for _ in range(3)] == [5, 6, 5]
    choice = a_choice([], frequency_penalty=0.7, **greedy)
    assert [choice.pick(row.copy()) for _ in range(4)] == [5, 6, 5, 7]


def test_a_bias_forces_and_bans() -> None:
    row = a_row(2)
    assert a_choice(bias={9: 100.0}).pick(row.copy()) == 9
    best = int(row.argmax())
    assert a_choice(temperature=0.0, bias={best: -math.inf}).pick(row.copy()) != best


def test_grammar_limits_the_tokens_and_then_allows_only_the_end_token() -> None:
    choice = a_choice(grammar='root ::= "a" [bc]', seed=1)
    first, second, last = (choice.pick(a_row(seed)) for seed in range(3))
    assert (chr(first), chr(second) in "bc", last) == ("a", True, 256)
    banned = a_choice(grammar='root ::= "a" "b"', bias={ord("b"): -math.inf})
    assert [banned.pick(a_row(4)) for _ in range(2)] == [ord("a"), 256]


def test_nan_logits_invalid_grammars_and_invalid_penalties_are_refused() -> None:
    row = a_row(1)
    row[17] = math.nan
    with pytest.raises(Refusal, match="NaN"):
        a_choice().pick(row)
    with pytest.raises(Refusal, match="does not compile"):
        a_choice(grammar='root ::= "a')
    with pytest.raises(Refusal, match="repeat_penalty"):
        a_choice(repeat_penalty=0.0)
