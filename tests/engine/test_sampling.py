"""Which token is chosen: greedy, seeded, biased, penalised, and what the file's own defaults do."""

import math
from pathlib import Path
from typing import Any

import llama_cpp.llama_cpp as lib
import numpy as np
import pytest
from llmctld.engine.answer.sampling import SamplingDefaults
from llmctld.engine.llama.model import Gguf
from llmctld.engine.llama.sampler import Sampler
from llmctld.engine.messages import Submit

from tests.engine.driver import Driver, llama
from tests.tiny_gguf import CHAT_TEMPLATE, EOS, write


@pytest.mark.parametrize("options", [{}, {"ignore_eos": True}, {"logit_bias": {"e": 3.0, "t": -100.0}}])
def test_temperature_zero_takes_the_largest_logit(base: Gguf, options: dict[str, Any]) -> None:
    """As the library's own chain does with top_k 1."""
    for prompt in ("hello", "why is the sky blue?"):
        ours = Driver(base).ask(prompt, max_tokens=20, **options)
        theirs = Driver(base).ask(prompt, max_tokens=20, temperature=1.0, top_k=1, seed=1, **options)
        assert ours.text == theirs.text
        assert ours.done.completion_tokens == theirs.done.completion_tokens > 3


def test_same_seed_repeats_the_answer_and_no_seed_varies_it(base: Gguf) -> None:
    hot = {"temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "max_tokens": 24, "ignore_eos": True}
    again = [Driver(base).ask("tell me", seed=7, **hot).text for _ in range(2)]
    others = {Driver(base).ask("tell me", **hot).text for _ in range(3)}
    assert again[0] == again[1]
    assert len({*again, *others}) == 4
    assert Driver(base).ask("tell me", seed=8, **hot).text != again[0]


def test_logit_bias_forces_or_bans_a_token(base: Gguf) -> None:
    forced = Driver(base).ask("hello", logit_bias={"q": 100.0}, max_tokens=5)
    assert forced.text == "qqqqq"
    plain = Driver(base).ask("hello", max_tokens=30).text
    letter = next(letter for letter in plain if letter.isalpha())
    banned = Driver(base).ask("hello", logit_bias={letter: -100.0}, max_tokens=30).text
    assert letter not in banned
    assert banned != plain


def test_logit_bias_accepts_token_ids(base: Gguf) -> None:
    (token,) = base._vocabulary.tokenise("q")[-1:]
    assert Driver(base).ask("hello", logit_bias={str(token): 100.0}, max_tokens=4).text == "qqqq"


@pytest.mark.parametrize(("key", "words"), [("hello", "'hello' is"), ("99999", "token 99999"), ("", "'' is")])
def test_logit_bias_for_an_unknown_token_is_refused_and_others_continue(base: Gguf, key: str, words: str) -> None:
    driver = Driver(base)
    good, bad = driver.submit("hello"), driver.submit("hello", logit_bias={key: 1.0})
    driver.run()
    assert driver.replies[bad].refusal.code == "invalid_request"
    assert words in driver.replies[bad].refusal.message
    assert driver.replies[good].done.completion_tokens > 0


def test_the_end_token_ends_the_answer_unless_it_is_ignored(base: Gguf) -> None:
    ended = Driver(base).ask("hello", logit_bias={str(EOS): 100.0}, max_tokens=9)
    assert (ended.text, ended.done.reason, ended.done.completion_tokens) == ("", "stop", 1)
    ignored = Driver(base).ask("hello", logit_bias={str(EOS): 100.0}, max_tokens=9, ignore_eos=True)
    assert (ignored.done.reason, ignored.done.completion_tokens) == ("length", 9)


def test_a_ban_matters_where_the_banned_token_is_the_likeliest(base: Gguf) -> None:
    logits = np.zeros(base._vocabulary.size, np.float32)
    logits[[5, 7]] = 2.0, 1.0
    for bias, token in (({}, 5), ({7: -math.inf}, 5), ({5: -math.inf}, 7), ({5: -math.inf, 7: -2.0}, 0)):
        sampler = Sampler(Submit(id=1, max_tokens=1, temperature=0.0), SamplingDefaults(), base._vocabulary, bias, [])
        assert sampler.sample(None, 0, logits.copy()) == token


def test_a_presence_penalty_ends_a_repetition(base: Gguf) -> None:
    stuck = {"logit_bias": {"q": 60.0, "z": 40.0}, "max_tokens": 6}
    assert Driver(base).ask("hello", **stuck).text == "qqqqqq"
    assert Driver(base).ask("hello", presence_penalty=30.0, **stuck).text.startswith("qz")


def logits_of(model: Gguf, tokens: list[int]) -> list[list[float]]:
    """The logits after each token, computed one by one in a separate context without sampling."""
    context = lib.llama_init_from_model(model._model, lib.llama_context_default_params())
    rows = []
    for token in tokens:
        assert lib.llama_decode(context, lib.llama_batch_get_one((lib.llama_token * 1)(token), 1)) == 0
        row = np.ctypeslib.as_array(lib.llama_get_logits_ith(context, -1), (model._vocabulary.size,))
        rows.append([float(logit) for logit in row])
    lib.llama_free(context)
    return rows


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 1.5, "seed": 5, "top_k": 0, "repeat_penalty": 1.4, "logit_bias": {"q": 9.0}},
        {"grammar": "root ::= [q-z]{6}", "temperature": 1.0, "seed": 1},
    ],
    ids=str,
)
def test_logprobs_are_the_models_own_whatever_the_sampling_options(base: Gguf, options: dict[str, Any]) -> None:
    """Compared with the log-softmax of the model's logits, computed by hand."""
    driver = Driver(base)
    beside = driver.submit("another", max_tokens=9)
    reply = driver.replies[driver.submit("hello", max_tokens=6, logprobs=5, **options)]
    driver.run()
    assert driver.replies[beside].done.logprobs is None
    assert reply.done.logprobs is not None
    assert len(reply.done.logprobs) == reply.done.completion_tokens
    shown = {base._vocabulary.shown(token): token for token in reversed(range(base._vocabulary.size))}
    letters = {base.piece(token).decode(): token for token in range(259 + 4, base._vocabulary.size)}
    tokens = [letters.get(each.token, shown[each.token]) for each in reply.done.logprobs]
    prompt = base._vocabulary.encode("hello")
    for each, token, row in zip(
        reply.done.logprobs, tokens, logits_of(base, prompt + tokens)[len(prompt) - 1 :], strict=False
    ):
        total = math.log(math.fsum(math.exp(logit) for logit in row))
        assert each.logprob == pytest.approx(row[token] - total, abs=2e-3)
        best = sorted(row, reverse=True)[:5]
        assert [likely for _, likely in each.top] == pytest.approx([logit - total for logit in best], abs=2e-3)


@pytest.mark.parametrize("options", [{"repeat_penalty": 0.0}, {"temperature": float("nan")}, {"top_p": float("inf")}])
def test_sampling_values_that_would_crash_the_library_are_refused(base: Gguf, options: dict[str, float]) -> None:
    assert Driver(base).ask("hello", **options).refusal.code == "invalid_request"


def test_files_sampling_defaults_apply_when_the_request_sets_none(tmp_path: Path) -> None:
    path = tmp_path / "greedy.gguf"
    write(path, chat_template=CHAT_TEMPLATE, numbers={"general.sampling.temp": 0.0})
    model = Gguf(llama(path, slots=1))
    default = [Driver(model).ask("hello", temperature=None, max_tokens=20).text for _ in range(2)]
    assert default[0] == default[1] == Driver(model).ask("hello", temperature=0.0, max_tokens=20).text


def test_invalid_sampling_defaults_in_the_file_are_ignored() -> None:
    found = SamplingDefaults.named_by(
        {"general.sampling.temp": "0.5", "general.sampling.top_k": "20", "general.sampling.min_p": "x"}
    )
    assert found == SamplingDefaults(temperature=0.5, top_p=0.9, top_k=20, min_p=0.05)
