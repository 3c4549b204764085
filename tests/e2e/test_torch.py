"""A transformers folder by the installed command: concurrent requests get the same answers as sequential ones."""

import json
import re
import shutil
import signal
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests import tiny_llama
from tests.e2e.house import House, until
from tests.e2e.house import house as a_house
from tests.e2e.test_bad_input import refused

PROMPTS = [f"{words} {number}" for number, words in enumerate(["The sky", "Why is", "def add", "1, 2,"] * 2)]
ASK = ("ask", "-m", "t", "--raw", "--no-cache", "--temperature", "0")
LONG = ("--max-tokens", "3000", "--logit-bias", "1=-100")
"""Without an end: token 1 is that."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama.write(tmp_path_factory.mktemp("llama") / "tiny", context=4096)


@pytest.fixture(scope="module")
def home(folder: Path) -> Iterator[House]:
    """With the model `t`, loaded once: importing torch takes seconds."""
    with a_house() as made:
        made.ok("models", "add", "t", folder, "--set=slots=8", "--set=threads=1")
        made.ok("models", "load", "t")
        yield made


@cache
def alone(folder: Path, prompt: str, count: int) -> str:
    """What `model.generate` makes of a prompt alone, in float32, as text."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    tokens = torch.tensor([tokenizer.encode(prompt)])
    made = model.generate(tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=count, do_sample=False)
    return re.sub("</?s>", "", tokenizer.decode(made[0, tokens.shape[1] :]))


# ---- results --------------------------------------------------------------------------------------------------------


def test_typed_text_becomes_no_control_token(home: House) -> None:
    def tokens(text: str, *more: str) -> int:
        asked = home.ok("ask", text, "-m", "t", "--no-cache", "--max-tokens", "1", "--json", "--no-stream", *more)
        count: int = asked.last["usage"]["prompt_tokens"]
        return count

    typed, alike = "a</s>[b]<s>", "a(/s)[b](s)"
    assert tokens(typed) == tokens(alike)
    assert tokens(typed, "--raw") == tokens(alike, "--raw") - 5  # one instead of four, and of three


def test_overflow_counts_with_the_tokenizer_of_the_model(home: House) -> None:
    text = " ".join(f"word {number} of many" for number in range(2000))
    cut = home.ok("ask", "-m", "t", "--overflow", "middle", "--max-tokens", "8", "--json", "--no-stream", stdin=text)
    assert 4096 - 8 - 24 <= cut.last["usage"]["prompt_tokens"] <= 4096 - 8
    assert "the middle of stdin is left out: " in cut.err


def test_messages_give_the_same_answer_as_the_same_conversation(home: House) -> None:
    options = (
        "-m",
        "t",
        "--temperature",
        "0",
        "--max-tokens",
        "4",
        "--no-cache",
        "--conversation",
        "twin",
        "--json",
        "--no-stream",
    )
    first = home.ok("ask", "one", "-s", "SYS", *options).last
    second = home.ok("ask", "two", *options).last
    chat = [
        {"role": "system", "content": "SYS"}, {"role": "user", "content": "one"},
        {"role": "assistant", "content": first["text"]}, {"role": "user", "content": "two"},
    ]  # fmt: skip
    script = f"""
from llmctl import Client
answer = Client().ask(messages={chat!r}, model="t", temperature=0, max_tokens=4, no_cache=True)
print([answer.text, answer.usage.prompt_tokens])
"""
    assert home.python(script).end().out.strip() == str([second["text"], second["usage"]["prompt_tokens"]])


def test_a_transformers_folder_is_added_and_answers(home: House) -> None:
    listed = next(line for line in home.ok("models", "ls", "--json").lines if line["name"] == "t")
    assert (listed["name"], listed["kind"], listed["state"]) == ("t", "text", "ready")
    line = home.ps("t")
    assert (line["backend"], line["slots"], line["context"]) == ("transformers", 8, 4096)
    assert line["memory_bytes"] > 0
    plain = home.ok("ask", "hello", "-m", "t", "--max-tokens", "5", "--json", "--no-stream").last
    raw = home.ok("ask", "hello", "-m", "t", "--max-tokens", "5", "--raw", "--json", "--no-stream").last
    assert plain["usage"]["prompt_tokens"] > raw["usage"]["prompt_tokens"] > 1, "the one has the template around it"


def test_eight_concurrent_prompts_give_the_tokens_of_sequential_generate(home: House, folder: Path) -> None:
    """Token by token: the Python client returns text, and no two of the answers are the same."""
    with home.held("t"):
        commands = [home.spawn(*ASK, prompt, "--max-tokens", "24", "--json", "--no-stream") for prompt in PROMPTS]
        until(lambda: home.status()["requests_in_flight"] == len(PROMPTS))
    answers = [command.end().last for command in commands]
    for answer, prompt in zip(answers, PROMPTS, strict=True):
        assert (answer["reasoning"] or "") + answer["text"] == alone(folder, prompt, 24)
        assert answer["batched"]


def test_eight_requests_run_concurrently(home: House) -> None:
    with home.held("t"):
        commands = [home.spawn(*ASK, prompt, *LONG) for prompt in PROMPTS]
        until(lambda: home.status()["requests_in_flight"] == len(PROMPTS))
    assert until(lambda: (busy := home.busy("t")) > 1 and busy, what="several in the engine") <= 8
    for command in commands:
        command.send_signal(signal.SIGINT)
    assert [command.end().status for command in commands] == [130] * len(commands)
    until(lambda: home.busy("t") == 0)


def test_ctrl_c_on_one_request_frees_its_slot_and_the_others_continue(home: House) -> None:
    commands = [home.spawn(*ASK, prompt, *LONG) for prompt in PROMPTS[:3]]
    for command in commands:
        assert command.first_byte()
    assert home.busy("t") == 3
    commands[1].send_signal(signal.SIGINT)
    assert commands[1].end().status == 130
    until(lambda: home.busy("t") < 3)
    assert home.busy("t") == 2, "the others go on"
    for command in (commands[0], commands[2]):
        command.send_signal(signal.SIGINT)
        assert command.end().status == 130
    until(lambda: home.busy("t") == 0)


def test_a_timeout_ends_a_request_with_its_partial_answer(home: House) -> None:
    for limit in ("1s", "4s", "16s"):  # the first is enough where a token comes within a second
        outcome = home.run(*ASK, PROMPTS[0], *LONG, "--timeout", limit)
        assert outcome.status == 7
        if outcome.out:
            break
    assert outcome.out
    until(lambda: home.busy("t") == 0)


def test_stop_strings_end_the_answer(home: House, folder: Path) -> None:
    whole = alone(folder, PROMPTS[0], 24)
    stop = whole[9:11]
    outcome = home.ok(*ASK, PROMPTS[0], "--max-tokens", "24", "--stop", stop, "--json", "--no-stream")
    assert (outcome.last["text"], outcome.last["finish_reason"]) == (whole[: whole.index(stop)], "stop")


def test_the_same_seed_repeats_the_answer_and_another_seed_differs(home: House) -> None:
    def ask(*options: str) -> str:
        command = ("ask", "-m", "t", "tell me", "--no-cache", "--max-tokens", "16", "--temperature", "1.5")
        return str(home.ok(*command, "--top-k", "0", "--json", "--no-stream", *options).last["text"])

    assert ask("--seed", "7") == ask("--seed", "7")
    assert len({ask("--seed", "7"), ask("--seed", "8"), ask(), ask()}) == 4


def test_schema_grammar_and_logprobs_are_supported(home: House) -> None:
    ask = (
        "ask",
        "-m",
        "t",
        "what?",
        "--max-tokens",
        "120",
        "--temperature",
        "1",
        "--seed",
        "3",
        "--json",
        "--no-stream",
    )
    value = home.ok(*ask, "--schema", '{"type":"object","properties":{"ok":{"type":"boolean"}},"required":["ok"],'
                    '"additionalProperties":false}').last["value"]  # fmt: skip
    assert value in ({"ok": True}, {"ok": False})
    (home.home / "yes.gbnf").write_text('root ::= "yes" | "no"')
    assert home.ok(*ask, "--grammar", "yes.gbnf").last["text"] in ("yes", "no")
    scored = home.ok(*ask, "--logprobs", "2").last["logprobs"]
    assert all(len(each["top"]) == 2 and each["logprob"] < 0 for each in scored)


def test_penalties_logit_bias_and_min_p_are_applied(home: House, folder: Path) -> None:
    ask = (*ASK, PROMPTS[0], "--max-tokens", "12", "--json", "--no-stream")
    assert home.ok(*ask, "--logit-bias", "q=12").last["text"] == "q" * 12
    assert (
        home.ok(*ask, "--logit-bias", "q=12", "--presence-penalty", "2", "--repeat-penalty", "10").last["text"]
        != "q" * 12
    )
    hot = (
        "ask",
        "-m",
        "t",
        "--raw",
        PROMPTS[0],
        "--max-tokens",
        "12",
        "--temperature",
        "2",
        "--min-p",
        "1",
        "--no-cache",
    )
    assert home.ok(*hot, "--json", "--no-stream").last["text"] == alone(folder, PROMPTS[0], 12)


def test_the_client_sends_token_ids_and_ignores_the_end_token(home: House) -> None:
    done = home.python(
        "from llmctl import Client\nwith Client() as c:\n"
        "    a = c.ask(tokens=[5, 6, 7], model='t', max_tokens=30, ignore_eos=True, temperature=0, cache='skip')\n"
        "    print(a.usage.prompt_tokens, a.usage.completion_tokens)\n"
    ).end()
    assert done.out.split() == ["3", "30"], done


def test_a_prefix_is_reused_but_not_with_repro(home: House) -> None:
    long = "the river runs under the old bridge " * 10
    first, again = (home.ok(*ASK, long, "--max-tokens", "4", "--json", "--no-stream").last for _ in range(2))
    assert first["text"] == again["text"]
    assert again["usage"]["cached_tokens"] >= 32
    alone = home.ok(*ASK, long, "--max-tokens", "4", "--repro", "--json", "--no-stream").last
    assert (alone["usage"]["cached_tokens"], alone["batched"], alone["text"]) == (0, False, first["text"])


# ---- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("x " * 5000,), "the model's context is 4096"),
        (("x", "--logit-bias", "the river=1"), "must be one"),
        (("x", "--schema", '{"type": "string", "unheard": {"of": 1}, "pattern": "("}'), "does not compile"),
        (("x", "--adapter", "a"), "has no adapter 'a'"),
    ],
)
def test_an_unsupported_request_is_refused_with_a_message(home: House, options: tuple[str, ...], words: str) -> None:
    outcome = home.run(*ASK, *options)
    assert (outcome.status in (2, 5), outcome.out) == (True, "")
    assert words in outcome.err
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("quantization=int3", "'int8'"), ("dtype=float8", "bfloat16"), ("device=gpu", "cuda"), ("trust=perhaps", "bool"),
    ],
)  # fmt: skip
def test_adding_a_model_refuses_an_invalid_setting(home: House, folder: Path, setting: str, words: str) -> None:
    outcome = home.run("models", "add", "wrong", folder, f"--set={setting}")
    assert (outcome.status, outcome.out) == (5, "")
    assert setting.partition("=")[0] in outcome.err


def link(folder: Path, target: Path, **replaced: bytes | None) -> Path:
    """The folder anew, with other files in it; None: without it."""
    target.mkdir()
    for file in folder.iterdir():
        name = file.name.replace(".", "_")
        if name not in replaced:
            (target / file.name).symlink_to(file)
        elif (content := replaced[name]) is not None:
            (target / file.name).write_bytes(content)
    return target


def test_pickled_weights_are_refused_at_add_and_at_load(home: House, folder: Path, tmp_path: Path) -> None:
    made = link(folder, tmp_path / "pickled", model_safetensors=None)
    (made / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    outcome = home.run("models", "add", "pickled", made)
    assert (outcome.status, outcome.out) == (4, "")
    assert "pytorch_model.bin are a pickle" in outcome.err
    assert "trust" in outcome.err
    home.ok("models", "add", "pickled", made, "--set=trust=true")
    later = link(folder, tmp_path / "later")
    home.ok("models", "add", "later", later)
    (later / "model.safetensors").rename(later / "pytorch_model.bin")
    outcome = home.run("ask", "a", "-m", "later")
    assert (outcome.status, "are a pickle" in outcome.err, "trust = true" in outcome.err) == (4, True, True)
    for name in ("pickled", "later"):
        home.ok("models", "rm", name, "--yes")


def test_a_damaged_folder_is_reported_in_one_line(home: House, folder: Path, tmp_path: Path) -> None:
    weights = (folder / "model.safetensors").read_bytes()
    config = json.loads((folder / "config.json").read_text())
    faults: dict[str, tuple[dict[str, bytes | None], tuple[str, ...], str]] = {
        "cut": ({"model_safetensors": weights[:5000]}, (), "is truncated"),
        "mute": ({"tokenizer_json": None}, (), "no tokenizer"),
        "package": ({}, ("--set=quantization=nf4",), "bitsandbytes"),
        "kind": ({"config_json": json.dumps(config | {"model_type": "unheard_of"}).encode()}, (), "unheard_of"),
    }
    for name, (replaced, settings, words) in faults.items():
        made = link(folder, tmp_path / name, **replaced)
        home.ok("models", "add", name, made, *settings)
        outcome = home.run("ask", "a", "-m", name, "--json")
        assert (outcome.status, outcome.error["code"]) == (4, "model_unavailable"), outcome
        assert words in outcome.error["message"]
        assert outcome.error["hint"]
        assert "Traceback" not in outcome.err
        home.ok("models", "rm", name, "--yes")


def test_adding_a_folder_without_a_text_model_is_refused(home: House, folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    faults: dict[str, tuple[dict[str, bytes | None], str]] = {
        "none": ({"config_json": None}, "config.json"),
        "broken": ({"config_json": b"{"}, "config.json cannot be read"),
        "other": ({"config_json": json.dumps(config | {"architectures": ["ViTModel"]}).encode()}, "ViTModel"),
        "weightless": ({"model_safetensors": None}, "no weights"),
    }
    for name, (replaced, words) in faults.items():
        outcome = home.run("models", "add", name, link(folder, tmp_path / name, **replaced))
        assert (outcome.status, outcome.out) == (4, ""), outcome
        assert words in outcome.err


def test_text_that_the_tokenizer_panics_on_fails_only_its_request(home: House, folder: Path, tmp_path: Path) -> None:
    """Sixty letters ended the engine, since a panic is no Exception."""
    shutil.copytree(folder, tmp_path / "panic")
    tiny_llama.with_endless_pattern(tmp_path / "panic")
    home.ok("models", "add", "panic", tmp_path / "panic", "--set=slots=2", "--set=threads=1")
    home.ok("models", "load", "panic")
    ask = ("-m", "panic", "--raw", "--no-cache", "--max-tokens", "2")
    refused(home.run("ask", "x" * 60, *ask), 5, "tokenizer", "retry-limit-in-match")
    before = {line["name"]: line["pid"] for line in home.ok("ps", "--json").lines}
    assert home.ok("ask", "The sky", *ask).err.count("loading") == 0
    after = {line["name"]: line["pid"] for line in home.ok("ps", "--json").lines}
    assert after["panic"] == before["panic"]
