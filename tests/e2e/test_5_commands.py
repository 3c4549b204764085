"""Item 5, the commands: text in and out, streams, templates, conversations, models, configuration, `Client`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from llmctl import config
from tests.e2e.house import LLMCTL, PATIENCE_S, House, until

# ---- stdin ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("script", "out"),
    [
        ("echo piped | llmctl ask", "piped\n"),
        ("echo piped | llmctl ask first", "first\n\npiped\n"),
        ("echo piped | llmctl ask 'a {stdin} b'", "a piped b\n"),
        ("printf 'a\\n\\n' | llmctl ask --raw", "a\n\n"),
        ("llmctl ask hi </dev/null", "hi\n"),
        ("llmctl ask hi <&-", "hi\n"),
        ("echo ignored | llmctl ask hi --no-stdin", "hi\n"),
        ("echo ignored | LLMCTL_NO_STDIN=1 llmctl ask hi", "hi\n"),
        ("echo text >f.txt; llmctl ask </dev/null -f f.txt first", "first\n\nf.txt:\ntext\n"),
        ("llmctl ask 'braces {stay} as {they} are'", "braces {stay} as {they} are\n"),
        ("(echo a; sleep 3; echo b) | llmctl ask", "a\nb\n"),
        ("head -c 4000 /dev/zero | tr '\\0' x | llmctl ask --max-tokens 9000 | wc -c", "4001\n"),
    ],
)  # fmt: skip
def test_prompt_stdin_and_files_are_combined_into_the_request_text(shared: House, script: str, out: str) -> None:
    outcome = shared.shell(script)
    assert (outcome.status, outcome.out.replace(" ", "")) == (0, out.replace(" ", "")), outcome


def test_ask_waits_for_a_silent_stdin_and_says_so_on_stderr(shared: House) -> None:
    read, write = os.pipe()
    asking = shared.spawn("ask", "hi", stdin=read)
    os.close(read)
    assert asking.stderr is not None
    assert "--no-stdin" in asking.stderr.readline(), "after two seconds it says what it waits for"
    assert asking.poll() is None
    os.write(write, b"late")
    os.close(write)
    assert asking.end().out == "hi\n\nlate\n"


def test_ask_that_swallows_the_stdin_of_a_shell_loop_hints_at_no_stdin(shared: House) -> None:
    (shared.home / "lines").write_text("one\ntwo\nthree\n")
    outcome = shared.shell('while read -r l; do llmctl ask "$l"; done <lines')
    assert outcome.out == "one\n\ntwo\nthree\n"
    assert "--no-stdin" in outcome.err


def test_a_pipe_into_ask_and_into_head_prints_no_errors(house: House, tmp_path: Path) -> None:
    from tests import tiny_gguf

    path = tmp_path / "small.gguf"
    tiny_gguf.write(path, seed=7, context=128)
    house.ok("models", "add", "small", path)
    readme = Path(__file__).resolve().parents[2] / "README.md"
    outcome = house.shell(
        f'head -c 60 {readme} | llmctl ask "Tell a story about {{stdin}}" --max-tokens 20 2>noise | head -1 && '
        "cat noise >&2"
    )
    assert outcome.status == 0
    assert "Traceback" not in outcome.err
    assert "rror" not in outcome.err
    until(lambda: house.busy("small") == 0)
    whole = house.shell(f'cat {readme} | llmctl ask "Tell a story about {{stdin}}"')
    assert whole.status == 5
    assert "128" in whole.err, "the context"
    numbers = [
        int(word.replace(",", "")) for word in whole.err.replace(".", " ").split() if word.replace(",", "").isdigit()
    ]
    assert any(number > 128 for number in numbers), "and what the prompt needs"


# ---- stdout and stderr ----------------------------------------------------------------------------------------------


def test_a_closed_stdout_pipe_ends_the_command_quietly(slow: House) -> None:
    slow.ok("models", "load", "slow")
    outcome = slow.shell(f"llmctl ask -m slow $'a\\n{'b' * 3000}' --max-tokens 3000 | head -1")
    assert (outcome.status, outcome.out, outcome.err) == (0, "a\n", "")
    until(lambda: slow.busy("slow") == 0, what="its end in the engine, where 3,000 tokens would take 10 minutes")


def test_output_to_a_file_contains_no_escape_codes(house: House) -> None:
    house.echo(first_ms=1500)
    outcome = house.shell(
        "llmctl ask hello >out 2>err; llmctl models ls >>out 2>>err; llmctl nonsense >>out 2>>err; cat out err"
    )
    assert "\x1b" not in outcome.out
    assert "hello\n" in outcome.out


@pytest.mark.parametrize("variables", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_in_a_terminal_that_disables_it(shared: House, variables: dict[str, str]) -> None:
    seen = shared.in_terminal("models", "ls", **({"TERM": "xterm-256color"} | variables))
    assert b"echo" in seen
    assert b"\x1b[3" not in seen, "no colours"


def test_the_answer_is_flushed_piece_by_piece(slow: House) -> None:
    asking = slow.spawn("ask", "-m", "slow", "k" * 1000)
    assert asking.first_byte() == "k"
    assert asking.poll() is None
    asking.kill()


def test_quiet_prints_no_notices(shared: House) -> None:
    shared.ok("ask", "quiet please")
    assert shared.ok("ask", "quiet please", "-q").err == ""


def test_json_output_is_one_object_per_line_for_every_command(shared: House) -> None:
    for command in (
        ["models", "ls"], ["models", "show", "echo"], ["ps"], ["cache", "stats"], ["templates", "ls"],
        ["daemon", "status"],
        ["config", "show"], ["config", "path"], ["config", "check"],
    ):  # fmt: skip
        outcome = shared.run(*command, "--json")
        assert all(isinstance(line, dict) for line in outcome.lines), (command, outcome)
        assert all("notice" in json.loads(line) for line in outcome.err.splitlines()), (command, outcome)


def test_the_last_line_of_ask_has_every_field(shared: House) -> None:
    outcome = shared.ok("ask", "hello world", "--json")
    assert outcome.pieces == "hello world"
    assert set(outcome.last) >= {
        "id", "index", "model", "text", "reasoning", "value", "conversation", "finish_reason", "user", "usage",
        "timings", "cache", "cost", "route", "logprobs",
    }  # fmt: skip
    assert set(outcome.last["usage"]) == {"prompt_tokens", "cached_tokens", "completion_tokens"}
    assert set(outcome.last["cache"]) == {"hit", "key", "similarity", "age_s"}
    assert set(outcome.last["timings"]) == {
        "queue_ms", "load_ms", "prefill_ms", "decode_ms", "total_ms", "tokens_per_second", "drafted", "accepted",
    }  # fmt: skip
    assert outcome.last["id"] in {row["id"] for row in shared.records()}


def test_with_json_a_failure_is_the_last_line_of_stderr(shared: House) -> None:
    outcome = shared.run("ask", "hi", "-m", "ecko", "--json")
    assert (outcome.status, outcome.out) == (4, "")
    assert set(outcome.error) == {"code", "message", "hint"}
    assert "echo" in outcome.error["message"] + outcome.error["hint"]


def test_extract_prints_a_code_block_or_fails_with_status_8(shared: House) -> None:
    text = "words\n```python\nprint(1)\n```\nmore\n```\nlast\n```\n"
    assert shared.ok("ask", text, "-x").out == "print(1)\n"
    assert shared.ok("ask", text, "--xl").out == "last\n"
    none = shared.run("ask", "no code", "-x")
    assert (none.status, none.out) == (8, "")


# ---- conversations --------------------------------------------------------------------------------------------------


def test_continuing_a_conversation_sends_the_previous_turns(house: House, tiny: Path) -> None:
    house.ok("models", "add", "tiny", tiny)
    options = ("--max-tokens", "4", "--json", "--no-stream")
    first = house.ok("ask", "my name is Ada", *options).last
    second = house.ok("ask", "who am I", "-c", *options).last
    alone = house.ok("ask", "who am I", *options).last
    assert first["conversation"] == second["conversation"] != alone["conversation"]
    assert second["usage"]["prompt_tokens"] > alone["usage"]["prompt_tokens"]


def test_a_named_conversation_is_created_at_first_use(shared: House) -> None:
    first = shared.ok("ask", "one", "--conversation", "trip", "--json", "--no-stream").last
    assert first["conversation"] == "trip"
    shared.ok("ask", "elsewhere")
    shared.ok("ask", "two", "--conversation", "trip")
    rows = shared.records("conversation, prompt", where="conversation = 'trip'")
    assert len(rows) == 2


def test_conversations_outlive_the_hub_and_belong_to_their_user(house: House) -> None:
    house.echo()
    first = house.ok("ask", "one", "--user", "ana", "--json", "--no-stream").last
    house.ok("ask", "other", "--user", "bob")
    house.ok("daemon", "restart")
    assert (
        house.ok("ask", "two", "-c", "--user", "ana", "--json", "--no-stream").last["conversation"]
        == first["conversation"]
    )


def test_continuing_without_a_conversation_is_status_5(shared: House) -> None:
    assert shared.run("ask", "hi", "-c", "--user", "newcomer").status == 5
    assert shared.run("ask", "hi", "-c", "--conversation", "x").status == 2


def test_concurrent_requests_on_one_conversation_are_answered_in_order(house: House) -> None:
    house.echo(token_ms=5)
    first = house.spawn("ask", "f" * 200, "--conversation", "queue")
    first.first_byte()
    second = house.ok("ask", "s" * 3, "--conversation", "queue")
    assert first.poll() is not None or first.end().status == 0, "the second waited for the first"
    assert second.out == "sss\n"
    rows = house.records("prompt, ended, at", where="conversation = 'queue'")
    assert rows[0]["ended"] <= rows[1]["ended"]


def test_chat_reads_its_turns_from_a_pipe(house: House) -> None:
    house.echo()
    outcome = house.ok("chat", stdin="hello\nhow are you\n")
    assert "hello" in outcome.out
    assert "how are you" in outcome.out
    assert len(house.records()) == 2
    assert len({row["conversation"] for row in house.records("conversation")}) == 1


# ---- templates ------------------------------------------------------------------------------------------------------


def test_a_saved_template_is_used_with_its_parameters(shared: House) -> None:
    shared.ok("ask", "Say {what} twice: {what}", "-p", "what=hi", "--save", "twice", "--max-tokens", "100")
    assert "twice" in [line["name"] for line in shared.ok("templates", "ls", "--json").lines]
    assert shared.ok("ask", "-t", "twice", "-p", "what=no").out == "Say no twice: no\n"
    assert "twice" in shared.ok("templates", "show", "twice").out
    shared.ok("templates", "rm", "twice", "--yes")
    assert shared.run("ask", "-t", "twice").status == 5


def test_a_template_given_as_a_file_is_used_and_its_missing_parameter_named(shared: House) -> None:
    (shared.home / "t.yaml").write_text("prompt: 'About {topic}: {stdin}'\nparams: {topic: null}\nmax_tokens: 500\n")
    assert shared.ok("ask", "-t", "./t.yaml", "-p", "topic=cats", stdin="purr\n").out == "About cats: purr\n"
    missing = shared.run("ask", "-t", "./t.yaml", stdin="purr\n")
    assert missing.status == 5
    assert "topic" in missing.err


@pytest.mark.parametrize("text", ["prompt: [", "promt: hi\n", "prompt: hi\nmax_tokens: many\n", "- a\n"])
def test_an_invalid_template_file_is_refused_and_named(shared: House, text: str) -> None:
    (shared.home / "wrong.yaml").write_text(text)
    outcome = shared.run("ask", "-t", "./wrong.yaml")
    assert outcome.status in (2, 5)
    assert "wrong.yaml" in outcome.err
    assert "Traceback" not in outcome.err


def test_an_unknown_template_suggests_similar_names(shared: House) -> None:
    shared.ok("ask", "Sum up {stdin}", "--save", "summary", stdin="x")
    outcome = shared.run("ask", "-t", "sumary")
    assert outcome.status == 5
    assert "summary" in outcome.err


# ---- models ---------------------------------------------------------------------------------------------------------


def test_models_are_added_shown_loaded_and_removed(house: House, tiny: Path) -> None:
    house.ok("models", "add", "tiny", tiny, "--alias", "little", "--set", "slots=2")
    assert [line["name"] for line in house.ok("models", "ls", "--json").lines] == ["tiny"]
    assert str(tiny) in house.ok("models", "show", "little", "--json").out
    house.ok("models", "load", "tiny")
    assert house.ps("tiny")["state"] == "ready"
    engine = house.engines()
    house.ok("models", "unload", "tiny")
    until(lambda: not house.engines())
    assert engine
    assert house.run("models", "rm", "tiny").status == 2, "without a terminal it needs --yes"
    house.ok("models", "rm", "tiny", "--yes")
    assert house.ok("models", "ls", "--json").out == ""
    assert tiny.exists(), "a file that the user gave is never deleted"
    assert house.run("ask", "hi", LLMCTL_DEFAULTS__GUIDE="false").status == 4


def test_adding_a_model_under_an_existing_name_needs_force(shared: House) -> None:
    assert shared.run("models", "add", "echo", "echo").status == 2
    shared.ok("models", "add", "echo", "echo", "--force")


def test_a_relative_model_path_is_resolved_from_the_caller_s_directory(house: House, tiny: Path) -> None:
    (house.home / "here.gguf").write_bytes(tiny.read_bytes())
    house.ok("models", "add", "here", "here.gguf")
    assert house.ok("ask", "hi", "--max-tokens", "2", "--json", "--no-stream").last["model"] == "here"


def test_the_first_model_is_the_default_and_an_alias_selects_its_model(house: House) -> None:
    house.echo("one")
    house.ok("models", "add", "two", "echo", "--alias", "zwei")
    assert house.ok("ask", "hi", "--json", "--no-stream").last["model"] == "one"
    assert house.ok("ask", "hi", "-m", "zwei", "--json", "--no-stream").last["model"] == "two"
    assert house.ok("ask", "ho", "--json", "--no-stream", LLMCTL_DEFAULTS__MODEL="two").last["model"] == "two"


# ---- configuration --------------------------------------------------------------------------------------------------


def test_config_init_writes_valid_defaults_and_never_overwrites(house: House) -> None:
    house.ok("config", "init")
    path = house.place / "config.toml"
    before = path.read_text()
    assert config.load(path, {}) == config.Config()
    assert house.run("config", "init").status == 2
    assert path.read_text() == before
    house.ok("config", "check")
    assert str(path) in house.ok("config", "path").out
    assert not house.daemons()


def test_config_show_includes_values_from_file_and_environment(house: House) -> None:
    house.place.mkdir()
    (house.place / "config.toml").write_text('[cache]\nmemory_bytes = "1M"\n')
    outcome = house.ok("config", "show", "--json", LLMCTL_LIMITS__QUEUE="7")
    assert "1048576" in outcome.out or "1M" in outcome.out
    assert "7" in outcome.out


# ---- start-up -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [["--help"], ["--version"], ["ps"], ["models", "ls"], ["ask", "the warm one"]])
def test_a_command_imports_no_slow_modules(shared: House, command: list[str]) -> None:
    shared.ok("ask", "the warm one")
    done = subprocess.run(
        [sys.executable, "-X", "importtime", str(LLMCTL), *command],
        env=shared.environ(), cwd=shared.home, capture_output=True, text=True, stdin=subprocess.DEVNULL,
        timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    slow = {"asyncio", "numpy", "torch", "llama_cpp", "llmctld", "pydantic", "structlog", "httpx", "httpx2", "sqlite3",
            "rich.markdown", "jinja2", "psutil", "faiss", "diskcache"}  # fmt: skip
    assert not imported & slow


# ---- Python ---------------------------------------------------------------------------------------------------------


def test_the_python_client_asks_streams_and_raises_typed_errors(shared: House) -> None:
    script = """
from llmctl import Client, LlmctlError
from llmctl.errors import InvalidRequest
import json, sys
with Client(user="ana") as c:
    a = c.ask("why?", model="echo", max_tokens=64)
    pieces = list(c.stream("tell me"))
    stream = c.stream("x" * 500)
    first = next(iter(stream))
    stream.close()
    try:
        c.ask("hi", temperature=9)
    except InvalidRequest as error:
        caught = [isinstance(error, LlmctlError), error.code, error.status, error.message, error.hint]
    print(json.dumps([a.text, a.user, a.usage.completion_tokens, a.cache.hit, "".join(pieces), first, caught]))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], env=shared.environ(), capture_output=True, text=True, check=False,
        stdin=subprocess.DEVNULL, timeout=PATIENCE_S,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    text, user, tokens, _, streamed, first, caught = json.loads(done.stdout)
    assert (text, user, tokens, streamed) == ("why?", "ana", 5, "tell me")
    assert set(first) == {"x"}
    assert caught[:3] == [True, "invalid_request", 5]
    assert "temperature" in caught[3]
    assert "9" in caught[3]
    assert caught[4]
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_an_answer_that_cannot_be_written_to_stdout_is_status_14(shared: House) -> None:
    outcome = shared.shell("llmctl ask hello >/dev/full")
    assert outcome.status == 14
    assert "Traceback" not in outcome.err
