"""Item 3, the engine: requests run in a batch, free their slot when done or cancelled, and their text is complete."""

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import gguf
import psutil
import pytest

from tests import tiny_gguf
from tests.e2e.house import LLMCTL, House, until
from tests.e2e.house import house as a_house

LONG = "x" * 2000
"""2,000 tokens of an echo model; of a fifth of a second each, that ends in no test."""


def slow(path: Path) -> None:
    """A model that needs at least half a minute for 16,000 tokens, read or generated."""
    tiny_gguf.write(path, seed=7, context=32768, layers=8, dim=256)


def eos(path: Path) -> int:
    """The token that ends an answer, as the file says."""
    field = gguf.GGUFReader(path).get_field("tokenizer.ggml.eos_token_id")
    assert field is not None
    return int(field.contents())


@pytest.fixture(scope="module")
def small(tiny: Path) -> Iterator[House]:
    """A home with the model `tiny`."""
    with a_house() as made:
        (made.home / "tiny.gguf").write_bytes(tiny.read_bytes())
        made.ok("models", "add", "tiny", made.home / "tiny.gguf")
        yield made


def test_a_second_short_request_overtakes_a_long_one(slow: House) -> None:
    first = slow.spawn("ask", "-m", "slow", LONG)
    first.first_byte()
    assert slow.busy("slow") == 1
    second = slow.spawn("ask", "-m", "slow", "y" * 100, "--max-tokens", "5", "--json", "--no-stream")
    until(lambda: second.poll() is not None or slow.busy("slow") == 2, what="both at once")
    assert second.end().last["text"] == "yyyyy"
    assert first.poll() is None, "the first still streams"
    assert slow.busy("slow") == 1
    first.send_signal(signal.SIGINT)
    assert first.end().status == 130


def test_ps_shows_two_requests_running_at_once(slow: House) -> None:
    first, second = slow.spawn("ask", "-m", "slow", LONG), slow.spawn("ask", "-m", "slow", "y" * 1000)
    first.first_byte()
    second.first_byte()
    assert slow.busy("slow") == 2
    assert slow.status()["requests_in_flight"] == 2
    first.kill()
    second.kill()


def test_a_short_request_overtakes_a_long_one_on_a_real_model(house: House, tmp_path: Path) -> None:
    path = tmp_path / "long.gguf"
    slow(path)
    house.ok("models", "add", "tiny", path, "--set=context=16384", "--set=slots=2", "--set=threads=1")
    endless = ("--logit-bias", f"{eos(path)}=-100", "--json")
    first = house.spawn("ask", "long", "--max-tokens", "16000", *endless)
    first.first_byte()
    second = house.ok("ask", "short", "--max-tokens", "5", *endless)
    assert second.last["usage"]["completion_tokens"] == 5
    assert first.poll() is None, "16,000 tokens take longer than 5"
    assert house.busy("tiny") == 1
    first.send_signal(signal.SIGINT)
    assert first.end().last["usage"]["completion_tokens"] > 1
    until(lambda: house.busy("tiny") == 0)


def test_killing_the_client_of_a_real_model_frees_its_slot(house: House, tmp_path: Path) -> None:
    path = tmp_path / "long.gguf"
    slow(path)
    house.ok("models", "add", "tiny", path, "--set=context=16384", "--set=slots=1", "--set=threads=1")
    first = house.spawn("ask", "long", "--max-tokens", "16000", "--logit-bias", f"{eos(path)}=-100")
    first.first_byte()
    first.kill()
    until(lambda: house.running() == 0)
    until(lambda: house.busy("tiny") == 0)
    assert [row["state"] for row in house.records()] == ["cancelled"]
    assert house.ok("ask", "hello", "--max-tokens", "3", "--json").last["usage"]["completion_tokens"] <= 3


def test_killing_the_client_while_its_prompt_is_computed_frees_the_slot(house: House, tmp_path: Path) -> None:
    path = tmp_path / "long.gguf"
    slow(path)
    house.ok("models", "add", "tiny", path, "--set=context=32768", "--set=slots=1", "--set=threads=1", "--set=batch=4")
    house.ok("models", "load", "tiny")
    (house.home / "long").write_text("a e i o " * 3000)
    asking = house.spawn("ask", "-f", "long", "--max-tokens", "5")
    until(lambda: house.busy("tiny") == 1)
    assert asking.poll() is None
    asking.kill()
    until(lambda: house.running() == 0)
    until(lambda: house.busy("tiny") == 0)
    assert [row["state"] for row in house.records()] == ["cancelled"]


def test_a_stalled_reader_gets_everything_and_stalls_no_other_request(house: House) -> None:
    house.echo(context=100_000)
    text = "".join(chr(97 + n % 26) for n in range(40_000))
    (house.home / "text").write_text(text)
    with (house.home / "text").open() as file:
        stalled = house.spawn("ask", "--max-tokens", "50000", "--raw", stdin=file.fileno())
    stalled.first_byte()
    stalled.send_signal(signal.SIGSTOP)
    assert house.ok("ask", "somebody else").out == "somebody else\n"
    until(lambda: house.busy("echo") == 0, what="the engine does not wait for a reader")
    stalled.send_signal(signal.SIGCONT)
    assert stalled.end().out == text + "\n"


def test_ctrl_c_keeps_the_partial_answer(slow: House) -> None:
    asking = slow.spawn("ask", "-m", "slow", LONG, "--json")
    asking.first_byte()
    asking.send_signal(signal.SIGINT)
    outcome = asking.end()
    assert outcome.status == 130
    assert outcome.last["finish_reason"] == "cancelled"
    until(lambda: slow.busy("slow") == 0)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_sigterm_and_sighup_also_cancel_the_request(slow: House, number: signal.Signals, status: int) -> None:
    asking = slow.spawn("ask", "-m", "slow", LONG)
    asking.first_byte()
    asking.send_signal(number)
    assert asking.end().status == status
    until(lambda: slow.busy("slow") == 0)


def test_the_timeout_command_of_the_shell_leaves_nothing_running(slow: House) -> None:
    """SIGALRM makes `timeout` believe that the time is over; it is sent once the answer has begun."""
    command = ["timeout", "600", str(LLMCTL), "ask", "-m", "slow", LONG, "--no-stdin"]
    with subprocess.Popen(command, env=slow.environ(), stdout=subprocess.PIPE) as limited:
        assert limited.stdout is not None
        assert limited.stdout.read(1) == b"x"
        limited.send_signal(signal.SIGALRM)
    assert limited.returncode == 124
    until(lambda: slow.busy("slow") == 0)


def test_a_timeout_holds_although_the_engine_stands_still_and_delivers_what_was_generated(house: House) -> None:
    house.echo(token_ms=20)
    house.ok("models", "load", "echo")
    engine = psutil.Process(house.ps("echo")["pid"])
    text = "word " * 1000
    for limit in ("3s", "12s", "48s"):  # the first is enough where a text is noted within three seconds
        asking = house.spawn("ask", text, "--timeout", limit, "--no-stream")
        noted = "state = 'running' AND text != ''"
        until(lambda asking=asking, noted=noted: asking.poll() is not None or house.records("id", noted))  # type: ignore[misc]
        if asking.poll() is None:
            break
    engine.suspend()
    outcome = asking.end()
    assert outcome.status == 7
    assert "a part of the answer had been generated" in outcome.err, "the engine has not told how many tokens"
    assert 0 < len(outcome.out.strip()) < len(text)
    assert text.startswith(outcome.out.strip())
    assert house.busy("echo") == 1, "the engine may still compute it"
    engine.resume()
    until(lambda: house.busy("echo") == 0)
    assert house.ok("ask", "hello", "--no-stdin").out == "hello\n"


def test_reaching_max_tokens_is_reported_but_is_no_failure(shared: House) -> None:
    outcome = shared.ok("ask", "abcdefgh", "--max-tokens", "3")
    assert outcome.out == "abc\n"
    assert "max-tokens" in outcome.err or "max_tokens" in outcome.err or "length" in outcome.err
    last = shared.ok("ask", "abcdefgh", "--max-tokens", "3", "--json").last
    assert last["finish_reason"] == "length"
    assert last["usage"]["completion_tokens"] == 3


def test_a_stop_string_is_never_printed_in_part(shared: House) -> None:
    outcome = shared.ok("ask", "say STOP now", "--stop", "STOP", "--json")
    assert outcome.pieces == outcome.last["text"] == "say "
    assert outcome.last["finish_reason"] == "stop"
    assert shared.ok("ask", "say STO", "--stop", "STOP").out == "say STO\n", "held back, then given"


def test_multi_byte_characters_are_never_split(shared: House) -> None:
    text = "naïve 👩‍👩‍👧 日本語 🏳️‍🌈"
    outcome = shared.ok("ask", text, "--json")
    assert outcome.last["text"] == text
    assert outcome.pieces == text
    assert shared.ok("ask", text).out == text + "\n"


def test_tokens_of_a_real_model_become_valid_text_streamed_or_not(small: House) -> None:
    """Random weights also generate byte tokens: the output is valid UTF-8, and the same streamed or not."""
    for seed in range(4):
        options = ("--temperature", "2", "--seed", seed, "--max-tokens", "60", "--json", "--no-cache")
        streamed = small.ok("ask", "tell me", *options)
        at_once = small.ok("ask", "tell me", *options, "--no-stream")
        assert streamed.pieces == streamed.last["text"]
        assert streamed.last["text"] == at_once.last["text"], "the same seed gives the same answer"
        assert len(at_once.lines) == 1


def test_usage_and_timings_are_reported(small: House) -> None:
    small.run("models", "unload", "tiny")
    last = small.ok("ask", "one two three", "--max-tokens", "8", "--json", "--no-stream").last
    assert last["model"] == "tiny"
    assert last["usage"]["prompt_tokens"] > 3
    assert 1 <= last["usage"]["completion_tokens"] <= 8
    times = last["timings"]
    assert times["total_ms"] >= times["prefill_ms"] + times["decode_ms"] > 0
    assert times["load_ms"] > 0, "this request loaded the model"
    assert small.ok("ask", "four", "--max-tokens", "2", "--json", "--no-stream").last["timings"]["load_ms"] == 0


def test_a_logit_bias_decides_the_token(small: House) -> None:
    wanted = eos(small.home / "tiny.gguf")
    assert small.ok("ask", "hi", "--logit-bias", f"{wanted}=100", "--json", "--no-stream").last["text"] == ""


def test_concurrent_requests_give_the_same_answers_as_sequential_ones(small: House) -> None:
    asks = [("ask", f"question {n}", "--temperature", "0", "--max-tokens", "40", "--no-cache") for n in range(4)]
    alone = [small.ok(*ask).out for ask in asks]
    together = [small.spawn(*ask) for ask in asks]
    assert [command.end().out for command in together] == alone


def test_requests_beyond_the_slots_wait_for_a_free_one(house: House) -> None:
    house.echo(token_ms=5, slots=2)
    asking = [house.spawn("ask", f"{n}" * 100) for n in range(5)]
    assert [command.end().out for command in asking] == [f"{n}" * 100 + "\n" for n in range(5)]


def test_a_file_without_a_chat_template_is_a_base_model_with_one_notice(house: House, tmp_path: Path) -> None:
    path = tmp_path / "base.gguf"
    tiny_gguf.write(path, seed=7, context=256, chat_template=None)
    house.ok("models", "add", "base", path)
    options = ("-m", "base", "--max-tokens", "4", "--temperature", "0", "--no-cache")
    words = "base has no chat template: it is a base model"
    raw = house.ok("ask", "a text", "--raw", *options)
    assert words not in raw.err, "who asks for no template knows"
    first = house.ok("ask", "a text", *options)
    assert words in first.err
    assert raw.out == first.out, "the text stands as it is either way"
    assert words not in house.ok("ask", "a text", *options).err


def test_a_crashing_engine_affects_no_other_model(house: House) -> None:
    house.echo()
    house.ok("models", "add", "bad", "echo", "--set=fail=crash")
    hub = house.hub().pid
    outcome = house.run("ask", "a long enough text", "-m", "bad")
    assert outcome.status == 9
    assert "Traceback" not in outcome.err
    assert house.ok("ask", "hi", "-m", "echo").out == "hi\n"
    assert house.hub().pid == hub
    assert house.run("ask", "once more", "-m", "bad").status == 9, "started anew, and it crashes anew"


def test_a_killed_engine_is_restarted_for_a_request_without_tokens_yet(house: House) -> None:
    house.echo()
    with house.held():
        asking = house.spawn("ask", "patience")
        until(lambda: house.running() == 1)
        for engine in house.engines():
            engine.kill()
    assert asking.end().out == "patience\n"


def test_a_request_whose_engine_is_killed_midway_fails_with_its_partial_answer(slow: House) -> None:
    asking = slow.spawn("ask", "-m", "slow", "h" * 2000)
    asking.first_byte()
    for engine in slow.engines():
        engine.kill()
    outcome = asking.end()
    assert outcome.status == 9
    assert set(outcome.out.strip()) <= {"h"}
    assert slow.ok("ask", "short").out == "short\n"


def test_failed_loads_and_failed_requests_have_their_own_status(house: House) -> None:
    house.ok("models", "add", "unloadable", "echo", "--set=fail=load")
    house.ok("models", "add", "failing", "echo", "--set=fail=error")
    assert house.run("ask", "hi", "-m", "unloadable").status == 4
    assert house.run("ask", "hi", "-m", "failing").status == 9


def test_model_settings_reach_the_engine(house: House, tiny: Path) -> None:
    house.ok("models", "add", "tiny", tiny, "--set=context=128", "--set=slots=3")
    house.ok("models", "load", "tiny")
    line = house.ps("tiny")
    assert (line["context"], line["slots"], line["state"], line["busy"]) == (128, 3, "ready", 0)
    assert line["backend"] == "llama.cpp"
    assert line["memory_bytes"] > 0
    assert line["pid"] in [engine.pid for engine in house.engines()]


def test_a_setting_in_config_toml_overrides_the_setting_of_the_model(house: House) -> None:
    house.place.mkdir()
    (house.place / "config.toml").write_text("[models.echo]\nslots = 7\n")
    house.echo()
    house.ok("models", "load", "echo")
    assert house.ps("echo")["slots"] == 7


def test_reasoning_is_separated_from_the_answer(shared: House) -> None:
    text = "<think>let me see</think>42"
    outcome = shared.ok("ask", text, "--json", "--no-stream")
    if outcome.last["reasoning"] is None:
        pytest.skip("an echo model does not think")
    assert (outcome.last["reasoning"].strip(), outcome.last["text"].strip()) == ("let me see", "42")
    assert shared.ok("ask", text).out.strip() == "42"


def test_a_second_ctrl_c_quits_at_once(house: House, patient: None) -> None:
    house.echo(token_ms=200)
    asking = house.spawn("ask", LONG)
    asking.first_byte()
    house.hub().suspend()  # so that the first one is not answered
    until(asking.interrupt, what="its end, by one more signal")
    outcome = asking.end()
    assert outcome.status == 130
    assert not outcome.out.endswith("\n"), "it quit, and did not wait for what had come"
    house.hub().resume()
    until(lambda: house.busy("echo") == 0)
