"""A transformers folder in the loop: each answer equals the model's own for that prompt alone, in any batch."""

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
import transformers
from llmctld.engine.errors import LoadError
from llmctld.engine.hf.files import check
from llmctld.engine.hf.model import Hf
from llmctld.engine.messages import Adapter, Load

from tests import tiny_llama
from tests.engine import driver

PROMPTS = [
    "The sky", "Why is the river old?", "def add", "A list of names and the others, light of short waves", "1, 2, 3",
    *(f"{'The quick brown fox jumps over the lazy dog, and ' * 3}then {number}" for number in range(3)),
]  # fmt: skip


def load(folder: Path, **options: Any) -> Load:
    plain = Load(
        name="tiny", backend="transformers", path=str(folder), threads=1, slots=4, retained=4, memory_bytes=2**30
    )
    return msgspec.structs.replace(plain, **options)


class Driver(driver.Driver):
    """Passes each prompt as a whole, as serve.py does."""

    def __init__(self, model: Hf) -> None:
        super().__init__(model, batch=2**30)
        self.hf = model

    def tokens(self, text: str) -> list[int]:
        return self.hf._words.encode(text)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama.write(tmp_path_factory.mktemp("llama") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> Hf:
    return Hf(load(folder))


def generated(folder: Path, prompt: list[int], count: int) -> list[int]:
    """What `model.generate` returns for the prompt alone, in float32."""
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokens = torch.tensor([prompt])
    made = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=count, do_sample=False)
    return [int(token) for token in made[0, len(prompt) :]]


def text_of(hf: Hf, tokens: list[int]) -> str:
    return b"".join(map(hf.piece, tokens)).decode(errors="replace")


def test_eight_concurrent_answers_equal_single_answers(model: Hf, folder: Path) -> None:
    driver = Driver(model)
    counts = range(12, 12 + 2 * len(PROMPTS), 2)
    ids = [driver.submit(prompt, raw=True, max_tokens=count) for prompt, count in zip(PROMPTS, counts, strict=True)]
    driver.run()
    assert max(step.busy for step in driver.steps) == 4
    for id, prompt, count in zip(ids, PROMPTS, counts, strict=True):
        expected = generated(folder, driver.tokens(prompt), count)
        reply = driver.replies[id]
        assert reply.text + reply.reasoning == text_of(model, expected)
        assert reply.done.completion_tokens == len(expected)
    assert driver.replies[ids[-1]].done.cached_tokens >= 32, "the last three prompts share a prefix"


def test_cancel_frees_the_pages_within_a_step_and_the_others_continue(model: Hf, folder: Path) -> None:
    driver = Driver(model)
    ids = [driver.submit(prompt, raw=True, max_tokens=30) for prompt in PROMPTS[:3]]
    driver.step(5)
    assert len(model._steps._processor.scheduler.active_requests) == 3  # type: ignore[attr-defined]
    driver.drop(ids[1])
    driver.step()
    assert driver.replies[ids[1]].done.reason == "cancelled"
    assert driver.steps[-1].busy == 2
    assert len(model._steps._processor.scheduler.active_requests) == 2  # type: ignore[attr-defined]
    driver.run()
    for id, prompt in ((ids[0], PROMPTS[0]), (ids[2], PROMPTS[2])):
        assert driver.replies[id].text == text_of(model, generated(folder, driver.tokens(prompt), 30))


def test_preempted_batch_work_gives_the_same_answer(folder: Path, model: Hf) -> None:
    driver = Driver(model)
    late = [driver.submit(prompt, raw=True, max_tokens=24, priority=2) for prompt in PROMPTS[:4]]
    driver.step(6)
    urgent = driver.submit(PROMPTS[4], raw=True, max_tokens=4, priority=0)
    driver.step()
    assert urgent in driver.loop.scheduler.running
    driver.run()
    for id, prompt in zip(late, PROMPTS[:4], strict=True):
        assert driver.replies[id].text == text_of(model, generated(folder, driver.tokens(prompt), 24))


def test_seeded_answers_repeat_alone_and_batched_and_unseeded_ones_differ(model: Hf) -> None:
    hot = {"raw": True, "temperature": 1.5, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "max_tokens": 16}
    alone = Driver(model).ask("tell me", seed=7, **hot).text
    driver = Driver(model)
    for prompt in PROMPTS[:2]:
        driver.submit(prompt, raw=True, max_tokens=16)
    again = driver.submit("tell me", seed=7, **hot)
    other = driver.submit("tell me", seed=8, **hot)
    driver.run()
    assert driver.replies[again].text == alone
    assert len({alone, driver.replies[other].text, *(Driver(model).ask("tell me", **hot).text for _ in range(2))}) == 4


def test_answer_follows_its_schema_or_grammar(model: Hf) -> None:
    schema = '{"type": "object", "properties": {"a": {"type": "integer"}, "b": {"enum": ["x", "y"]}}, "required": ["a", "b"], "additionalProperties": false}'  # noqa: E501
    driver = Driver(model)
    first = driver.submit("what?", schema=schema, max_tokens=80, temperature=1.0, seed=4)
    second = driver.submit("yes or no?", grammar='root ::= "yes" | "no"')
    driver.run()
    value = json.loads(driver.replies[first].text)
    assert (set(value), type(value["a"]), value["b"] in "xy") == ({"a", "b"}, int, True)
    assert driver.replies[second].text in ("yes", "no")
    assert driver.replies[second].done.reason == "stop"


def test_log_probabilities_are_the_models_own(model: Hf) -> None:
    done = Driver(model).ask("The sky", raw=True, max_tokens=3, logprobs=2).done
    tokens = torch.tensor([model._words.encode("The sky")])
    with torch.no_grad():
        expected = model._model(tokens).logits[0, -1].log_softmax(-1)
    scored = (done.logprobs or [])[0]
    assert len(done.logprobs or []) == 3
    assert scored.logprob == pytest.approx(float(expected.max()), abs=1e-4)
    assert [pair[1] for pair in scored.top] == pytest.approx(expected.topk(2).values.tolist(), abs=1e-4)


def test_thinking_is_separated_from_the_answer(folder: Path, model: Hf) -> None:
    opened, closed = (model._words.named(name) for name in tiny_llama.THINK)
    bias = {str(opened): 100.0}
    assert Driver(model).ask("a", raw=True, max_tokens=1, logit_bias=bias).text == ""
    tokens = model._words.encode("a")
    reply = Driver(model).ask("", tokens=[*tokens, opened], max_tokens=6, logit_bias={str(closed): -100.0})
    assert reply.text
    plain = Driver(model).ask("a", raw=True, max_tokens=2, stop=["zzz"], ignore_eos=True)
    assert plain.done.completion_tokens == 2


def test_stop_strings_token_ids_and_context_limit(model: Hf) -> None:
    driver = Driver(model)
    whole = driver.ask("The sky", raw=True, max_tokens=20).text
    assert driver.ask("The sky", raw=True, max_tokens=20, stop=[whole[6:9]]).text == whole[: whole.index(whole[6:9])]
    given = driver.ask("", tokens=driver.tokens("The sky"), max_tokens=20)
    assert given.text == whole
    assert driver.ask("", tokens=[10**6]).refusal.code == "invalid_request"
    assert driver.ask("", tokens=[5] * 512).refusal.code == "context_overflow"
    assert driver.ask("", tokens=[5] * 500, max_tokens=100, ignore_eos=True).done.completion_tokens == 12


def test_folders_chat_template_is_used_and_its_errors_are_refusals(folder: Path, tmp_path: Path, model: Hf) -> None:
    prompt = model.encode(driver_submit("hello"))
    assert prompt.text == "<s>[user] hello\n[assistant] "
    assert prompt.tokens.count(0) == 1
    base = tiny_llama.write(tmp_path / "base", template=None)
    loaded = Hf(load(base))
    assert loaded.loaded.base
    assert loaded.encode(driver_submit("hello")).text == ""
    broken = tiny_llama.write(tmp_path / "broken", template="{{ raise_exception('no such role') }}")
    refusal = Driver(Hf(load(broken))).ask("hello").refusal
    assert (refusal.code, "no such role" in refusal.message, "--raw" in refusal.hint) == ("invalid_request", True, True)


def test_panic_of_the_tokenizer_ends_only_its_request(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "panic")
    tiny_llama.with_endless_pattern(tmp_path / "panic")
    driver = Driver(Hf(load(tmp_path / "panic")))
    good, bad = driver.submit("The sky"), driver.submit("x" * 60)
    driver.run()
    refusal = driver.replies[bad].refusal
    assert (refusal.code, "retry-limit-in-match" in refusal.message) == ("invalid_request", True)
    assert driver.replies[good].finished is not None


def driver_submit(text: str) -> Any:
    from llmctld.engine.messages import ChatMessage, Submit

    return Submit(id=1, messages=[ChatMessage("user", text)], max_tokens=1)


def test_adapters_are_refused_and_reproducible_requests_run_alone(model: Hf) -> None:
    refusal = Driver(model).ask("a", adapters=(Adapter("x.gguf", 1.0),)).refusal
    assert (refusal.code, "LoRA" in refusal.message) == ("invalid_request", True)
    driver = Driver(model)
    long = "The quick brown fox jumps over the lazy dog, and the river runs under the old bridge. " * 2
    first = driver.ask(long, raw=True).done
    again = driver.ask(long, raw=True).done
    alone = driver.ask(long, raw=True, repro=True).done
    assert (first.batched, again.batched, alone.batched) == (False, True, False)
    assert (again.cached_tokens > 0, alone.cached_tokens) == (True, 0)


def test_failed_step_ends_its_requests_and_no_later_ones(folder: Path) -> None:
    hf = Hf(load(folder))
    driver, forward = Driver(hf), hf._model.forward
    ids = [driver.submit(prompt, raw=True) for prompt in PROMPTS[:2]]
    driver.step(2)

    def fail(*_: Any, **__: Any) -> None:
        raise torch.OutOfMemoryError("no memory left")

    hf._model.forward = fail
    driver.run()
    assert [driver.replies[id].refusal.code for id in ids] == ["engine_failed"] * 2
    assert "no memory left" in driver.replies[ids[0]].refusal.message
    hf._model.forward = forward
    assert driver.ask(PROMPTS[0], raw=True).text == text_of(hf, generated(folder, driver.tokens(PROMPTS[0]), 16))


def test_nan_logits_are_refused(folder: Path) -> None:
    hf = Hf(load(folder))
    with torch.no_grad():
        hf._model.model.norm.weight.fill_(math.nan)
    for options in ({}, {"temperature": 1.0}):
        refusal = Driver(hf).ask("a", **options).refusal
        assert (refusal.code, "NaN" in refusal.message) == ("engine_failed", True)


SIZES = {"vocab_size": 400, "bos_token_id": 0, "eos_token_id": 1, "pad_token_id": 1}
PLAIN = {
    **SIZES, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4,
    "initializer_range": 0.2, "max_position_embeddings": 256,
}  # fmt: skip
KINDS: dict[str, tuple[int, dict[str, Any]]] = {
    "GPT2": (4, {**SIZES, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 256, "initializer_range": 0.2}),
    "Gemma2": (4, {**PLAIN, "num_key_value_heads": 2, "head_dim": 16, "sliding_window": 16}),
    "Bloom": (1, {**SIZES, "hidden_size": 64, "n_layer": 2, "n_head": 4, "initializer_range": 0.2}),
    "Mamba": (1, {**SIZES, "hidden_size": 64, "num_hidden_layers": 2, "state_size": 8, "initializer_range": 0.2}),
}
"""Name -> requests together, fields of its configuration: plain, softcapped windows on eager attention, no paged attention
(ALiBi), no attention."""


@pytest.mark.parametrize("kind", KINDS)
def test_other_architectures_give_the_same_answers_batched_as_alone(kind: str, folder: Path, tmp_path: Path) -> None:
    """Those that the library's batching would silently compute wrongly run one by one, with a notice."""
    slots, fields = KINDS[kind]
    names = (f"{kind}Config", f"{kind}LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM")
    config, causal = (getattr(transformers, name) for name in names)
    torch.manual_seed(0)
    causal(config(**fields)).save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(folder / name, tmp_path / name)
    if kind == "GPT2":
        with pytest.raises(LoadError, match=r"`context` is 300, but .* has only 256 positions"):
            Hf(load(tmp_path, context=300))
    driver = Driver(Hf(load(tmp_path)))
    assert driver.hf.loaded.slots == slots
    assert any("one request at a time" in notice for notice in driver.hf.loaded.notices) == (slots == 1)
    ids = [driver.submit(prompt, raw=True, max_tokens=12) for prompt in PROMPTS[:6]]
    driver.run()
    for id, prompt in zip(ids, PROMPTS[:6], strict=True):
        expected = text_of(driver.hf, generated(tmp_path, driver.tokens(prompt), 12))
        assert driver.replies[id].text + driver.replies[id].reasoning == expected


def test_duplicate_weight_files_are_counted_once(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "m")
    alone = Hf(load(tmp_path / "m", context=256))
    limit = alone.loaded.memory_bytes + (tmp_path / "m" / "model.safetensors").stat().st_size // 2
    transformers.AutoModelForCausalLM.from_pretrained(folder).save_pretrained(tmp_path / "m", max_shard_size="200KB")
    (tmp_path / "m" / "model.safetensors").rename(tmp_path / "m" / "consolidated.safetensors")
    assert len(list((tmp_path / "m").glob("model-*.safetensors"))) > 1
    assert (
        Driver(Hf(load(tmp_path / "m", context=256, memory_bytes=limit))).ask("a").text == Driver(alone).ask("a").text
    )


# ---- what one request does wrong ------------------------------------------------------------------------------------


def test_token_outside_the_models_vocabulary_fails_only_that_request(folder: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    shutil.copytree(folder, tmp_path / "m")
    tokenizer = Tokenizer.from_file(str(tmp_path / "m" / "tokenizer.json"))
    tokenizer.add_tokens(["<beyond>"])
    tokenizer.save(str(tmp_path / "m" / "tokenizer.json"))
    driver = Driver(Hf(load(tmp_path / "m")))
    good, bad, listed = driver.submit(PROMPTS[0]), driver.submit("say <beyond>"), driver.submit("", tokens=[400])
    driver.run()
    refusal = driver.replies[bad].refusal
    assert (refusal.code, "'<beyond>' (id 400)" in refusal.message, "0 to 399" in refusal.message) == (
        "invalid_request", True, True,
    )  # fmt: skip
    assert driver.replies[listed].refusal.code == "invalid_request"
    assert driver.replies[good].text == Driver(driver.hf).ask(PROMPTS[0]).text


@pytest.mark.parametrize("steps", [1, 6])
def test_failing_request_in_a_step_ends_alone(model: Hf, folder: Path, steps: int) -> None:
    """In its prompt and during generation; the others' seeded samples are not drawn a second time."""
    drawn = {"temperature": 1.5, "seed": 5}
    meant = [Driver(model).ask(PROMPTS[0], **drawn).text, Driver(model).ask(PROMPTS[5]).text]
    driver = Driver(model)
    first, bad, last = driver.submit(PROMPTS[0], **drawn), driver.submit(PROMPTS[1]), driver.submit(PROMPTS[5])
    driver.step(steps)
    running = driver.loop.scheduler.running[bad]
    model._steps.drop(bad)  # it is added again with all its tokens
    running.tokens[-1] = 10**6
    driver.run()
    assert "IndexError" in driver.replies[bad].refusal.message
    assert [driver.replies[first].text, driver.replies[last].text] == meant
    assert Driver(model).ask(PROMPTS[5]).text == meant[1]


def test_sampling_exception_ends_only_that_request(model: Hf, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = Driver(model)
    meant = Driver(model).ask(PROMPTS[0]).text
    good, bad = driver.submit(PROMPTS[0]), driver.submit(PROMPTS[1], logprobs=2)
    driver.step(2)
    monkeypatch.setattr(model._choices[bad], "pick", lambda _: 1 / 0)
    driver.run()
    assert driver.replies[bad].refusal.code == "internal"
    assert driver.replies[good].text == meant


# ---- what cannot be loaded ------------------------------------------------------------------------------------------


def damage(name: str, content: bytes | None) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        (folder / name).unlink() if content is None else (folder / name).write_bytes(content)

    return do


def edit(**fields: Any) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | fields))

    return do


def cut(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[: len(data) // 2])


def pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def sharded(folder: Path) -> None:
    """The index lists two files, and one of them is missing."""
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    names = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


FAULTS: dict[str, tuple[Callable[[Path], None], dict[str, Any], str]] = {
    "no weights": (damage("model.safetensors", None), {}, "has no weights"),
    "cut weights": (cut, {}, "is truncated"),
    "no header": (damage("model.safetensors", b"\xff" * 64), {}, "cannot be read"),
    "a missing part": (sharded, {}, "1 are missing: model-00002-of-00002.safetensors"),
    "a pickle": (pickled, {}, "are a pickle"),
    "no JSON": (damage("config.json", b"{"), {}, "config.json cannot be read"),
    "no tokenizer": (damage("tokenizer.json", None), {}, "no tokenizer"),
    "a broken tokenizer": (damage("tokenizer.json", b"{}"), {}, "tokenizer"),
    "an unknown kind": (edit(model_type="unheard_of"), {}, "does not know the model type 'unheard_of'"),
    "code": (edit(model_type="own", auto_map={"AutoConfig": "own.Own"}), {}, "contains code of its own"),
    "other shapes": (edit(intermediate_size=100), {}, "cannot load"),
    "missing weights": (edit(num_hidden_layers=4), {}, "weights are missing"),
    "no such device": (lambda folder: None, {"device": "cuda:7"}, "no device cuda:7"),
    "no room": (lambda folder: None, {"memory_bytes": 10**5}, "does not fit in memory"),
    "no room for pages": (lambda folder: None, {"memory_bytes": 700_000}, "does not fit in memory"),
    "no package": (lambda folder: None, {"quantization": "nf4"}, "bitsandbytes and accelerate"),
}


def loaded(asked: Load) -> Hf:
    """Loads it as serve.py does."""
    check(asked)
    return Hf(asked)


@pytest.mark.parametrize("fault", FAULTS)
def test_load_errors_state_the_reason(fault: str, folder: Path, tmp_path: Path) -> None:
    damage, options, words = FAULTS[fault]
    shutil.copytree(folder, tmp_path / "model")
    damage(tmp_path / "model")
    asked = load(tmp_path / "model", **options)
    with pytest.raises(LoadError) as caught:
        loaded(asked)
    assert words in caught.value.message
    assert caught.value.message.startswith("tiny")
    assert caught.value.hint


def test_trusted_pickle_weights_are_loaded(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "model")
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(folder)
    torch.save(model.state_dict(), tmp_path / "model" / "pytorch_model.bin")
    (tmp_path / "model" / "model.safetensors").unlink()
    asked = load(tmp_path / "model", trust=True)
    check(asked)
    driver = Driver(Hf(asked))
    assert driver.ask("The sky", raw=True).text == text_of(driver.hf, generated(folder, driver.tokens("The sky"), 16))


def test_memory_limit_shrinks_retained_streams_then_slots_with_a_notice(folder: Path) -> None:
    seen = []
    for megabytes in (11, 7, 3.5):
        loaded = Hf(load(folder, memory_bytes=int(megabytes * 10**6))).loaded
        assert loaded.memory_bytes <= megabytes * 10**6
        assert "may use only" in loaded.notices[0]
        seen.append((loaded.retained, loaded.slots, loaded.context))
    assert seen == [(1, 4, 512), (0, 3, 512), (0, 1, 512)]


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"quantization": "int8"}])
def test_smaller_dtypes_use_less_memory_and_answer(options: dict[str, Any], folder: Path, model: Hf) -> None:
    if "quantization" in options:
        pytest.importorskip("torchao", reason="the extra `quantize` is not installed")
    small = Hf(load(folder, **options))
    assert small.loaded.memory_bytes < model.loaded.memory_bytes
    driver = Driver(small)
    ids = [driver.submit(prompt, raw=True, max_tokens=8) for prompt in PROMPTS]
    driver.run()
    assert all(driver.replies[id].done.completion_tokens > 0 for id in ids)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_gpu_answers_equal_those_of_generate(folder: Path) -> None:
    driver = Driver(Hf(load(folder, device="cuda:0", dtype="float32")))
    assert driver.hf.loaded.gpu_bytes == driver.hf.loaded.memory_bytes
    ids = [driver.submit(prompt, raw=True, max_tokens=16) for prompt in PROMPTS]
    driver.run()
    for id, prompt in zip(ids, PROMPTS, strict=True):
        tokens = torch.tensor([driver.tokens(prompt)], device="cuda:0")
        made = driver.hf._model.generate(tokens, max_new_tokens=16, do_sample=False)[0, tokens.shape[1] :].tolist()
        assert driver.replies[id].text + driver.replies[id].reasoning == text_of(driver.hf, made)
