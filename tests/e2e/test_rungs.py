"""Library crashes: the model is loaded on a lower rung, with one notice, and this is remembered; and other deaths.

The engines die of real signals where LLMCTL_ENGINE_CRASH tells them to: no processor at hand crashes by itself.
"""

import json
import os
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests import tiny_bert, tiny_gguf
from tests.e2e.house import PATIENCE_S, House, Outcome
from tests.e2e.house import house as a_house

CRASH = "LLMCTL_ENGINE_CRASH"
LADDER = ["as it is", "no AMX", "no extra buffers", "no flash attention"]
SHORT = ("--max-tokens", "3", "--temperature", "0")


def add(house: House, name: str, seed: int = 0) -> Path:
    path = house.home / f"{name}.gguf"
    tiny_gguf.write(path, chat_template=tiny_gguf.CHAT_TEMPLATE, seed=seed)
    house.ok("models", "add", name, path)
    return path


def falls(house: House, name: str) -> list[str]:
    """Rung and cause of each load that an engine died of, as the hub's log has them."""
    lines = [json.loads(line) for line in house.log.read_text().splitlines()]
    found = [line for line in lines if line["event"] == "a model does not load on this rung" and line["model"] == name]
    return [f"{line['rung']}: {line['cause']}" for line in found]


def kept(house: House) -> Path:
    return house.place / "state" / "rungs.json"


def notices(outcome: Outcome) -> list[str]:
    return [line for line in outcome.err.splitlines() if "llama.cpp crashes" in line]


# ---- a crash while loading ------------------------------------------------------------------------------------------


def test_a_library_crash_is_survived_reported_once_and_remembered(house: House) -> None:
    add(house, "healthy", seed=7)
    text = house.ok("ask", "hi", "-m", "healthy", *SHORT).out
    assert house.ps("healthy")["rung"] == "as it is"
    house.stop()

    house.variables[CRASH] = "SIGSEGV@proof:as it is,SIGILL@proof:no AMX"
    add(house, "m", seed=7)
    assert house.ok("models", "show", "m", "--json").last["rung"] is None
    first = house.ok("ask", "hi", "-m", "m", *SHORT)
    assert first.out == text, "the first request is already answered"
    (said,) = notices(first)
    for word in ("m runs without any special matrix kernels", "'as it is' ended with SIGSEGV", "'no AMX' ended with SIGILL",
                 "1.5 to 4 times as long", "llmctl daemon doctor"):  # fmt: skip
        assert word in said
    assert notices(house.ok("ask", "another", "-m", "m", *SHORT)) == [], "once per load"
    assert house.ps("m")["rung"] == "no extra buffers"
    assert house.ok("models", "show", "m", "--json").last["rung"] == "no extra buffers"
    assert ["rung", "no", "extra", "buffers"] in [
        line.split() for line in house.ok("models", "show", "m").out.splitlines()
    ]
    assert falls(house, "m") == ["as it is: SIGSEGV", "no AMX: SIGILL"]

    add(house, "other", seed=8)  # of the same kind: straight to what works
    (said,) = notices(house.ok("ask", "hi", "-m", "other", *SHORT))
    assert said.startswith("llmctl: other runs without")
    assert falls(house, "other") == []
    house.stop()
    assert notices(house.ok("ask", "three", "-m", "m", *SHORT)), "and by the next hub"
    assert falls(house, "m") == ["as it is: SIGSEGV", "no AMX: SIGILL"]
    assert kept(house).stat().st_mode & 0o777 == 0o600


def test_another_build_of_the_library_starts_at_the_top_rung(house: House) -> None:
    house.variables[CRASH] = "SIGSEGV@proof:as it is"
    add(house, "m")
    assert notices(house.ok("ask", "hi", "-m", "m", *SHORT))
    house.stop()
    spec = find_spec("llama_cpp")
    assert spec is not None
    assert spec.origin is not None
    rebuilt = house.home / "rebuilt"
    rebuilt.mkdir()
    for file in (Path(spec.origin).parent / "lib").iterdir():
        (rebuilt / file.name).symlink_to(file)
    repaired = {CRASH: "", "LLAMA_CPP_LIB_PATH": str(rebuilt)}
    assert notices(house.ok("ask", "two", "-m", "m", *SHORT, **repaired)) == []
    assert house.ps("m")["rung"] == "as it is"
    house.stop()
    del house.variables[CRASH]
    house.ok("ask", "three", "-m", "m", *SHORT)
    assert house.ps("m")["rung"] == "no AMX", "that build is known"


def test_a_damaged_file_of_known_crashes_is_rewritten(house: House) -> None:
    house.variables[CRASH] = "SIGSEGV@proof:as it is"
    add(house, "m")
    house.stop()
    for damage in (b"{", b"\xff\x00", b'{"kinds": [{"build": 7}]}'):
        kept(house).write_bytes(damage)
        house.ok("ask", f"after {damage!r}", "-m", "m", *SHORT)
        assert house.ps("m")["rung"] == "no AMX"
        assert json.loads(kept(house).read_bytes())["kinds"][0]["falls"][0]["cause"] == "SIGSEGV"
        house.stop()


def test_a_model_that_crashes_on_every_rung_is_refused_until_something_changes(house: House) -> None:
    house.variables[CRASH] = "SIGSEGV@proof:as it is:m,SIGILL@load:no AMX:m,SIGABRT@proof:*:m"
    add(house, "m")
    add(house, "fine")
    causes = ["SIGSEGV", "SIGILL", "SIGABRT", "SIGABRT"]
    tried = [f"{rung}: {cause}" for rung, cause in zip(LADDER, causes, strict=True)]
    for question in ("one", "two"):
        outcome = house.run("ask", question, "-m", "m", *SHORT)
        assert (outcome.status, outcome.out) == (4, "")
        for rung, cause in zip(LADDER, causes, strict=True):
            assert f"'{rung}' ({cause})" in outcome.err
        assert "llmctl models load m" in outcome.err
        assert ("engine-m.log" in outcome.err) == (question == "one"), "names the log to the client that saw it die"
        assert falls(house, "m") == tried, "failed rungs are not tried again"
    assert house.ps("m") == {}
    house.ok("ask", "hi", "-m", "fine", *SHORT)
    assert house.ps("fine")["rung"] == "as it is", "one unusable model says nothing of others"

    house.stop()
    assert house.run("ask", "three", "-m", "m").status == 4
    assert falls(house, "m") == tried, "nor does the next hub"
    assert house.run("models", "load", "m").status == 4
    assert falls(house, "m") == tried * 2, "but who asks for it"
    house.ok("models", "add", "m", house.home / "m.gguf", "--set", "context=64", "--force")
    assert house.run("ask", "four", "-m", "m").status == 4
    assert falls(house, "m") == tried * 3, "and other settings are tried"


def test_a_model_that_computes_nan_for_plain_text_never_becomes_ready(house: House) -> None:
    from gguf import GGUFReader

    path = house.home / "m.gguf"
    tiny_gguf.write(path, chat_template=tiny_gguf.CHAT_TEMPLATE)
    tensor = next(tensor for tensor in GGUFReader(path).tensors if tensor.name == "output_norm.weight")
    with path.open("r+b") as file:
        file.seek(int(tensor.data_offset))
        file.write(b"\x00\x00\xc0\x7f")
    house.ok("models", "add", "m", path)
    outcome = house.run("ask", "hi", "-m", "m", *SHORT)
    assert (outcome.status, outcome.out) == (4, "")
    for rung in LADDER:
        assert f"'{rung}' (NaN)" in outcome.err


def test_a_killed_engine_does_not_count_as_a_library_crash(house: House) -> None:
    house.variables[CRASH] = "SIGKILL@proof:as it is"
    add(house, "m")
    outcome = house.run("ask", "hi", "-m", "m")
    assert outcome.status == 4
    assert "killed by SIGKILL" in outcome.err
    assert falls(house, "m") == []
    assert not kept(house).exists()


def test_an_embedding_model_falls_to_a_lower_rung_too(house: House) -> None:
    from llmctld.engine.embed.convert import convert

    tiny_bert.write(house.home / "bert")
    convert(house.home / "bert", house.home / "bert.gguf")
    house.ok("models", "add", "b", house.home / "bert.gguf")
    vectors = house.ok("embed", "the cat", "-m", "b").out
    house.stop()
    house.variables[CRASH] = "SIGSEGV@proof:as it is,SIGFPE@batch:no AMX"
    outcome = house.ok("embed", "the cat", "-m", "b")
    assert outcome.out == vectors
    (said,) = notices(outcome)
    assert "'as it is' ended with SIGSEGV, 'no AMX' ended with SIGFPE" in said, "the message is about the last load"
    assert house.ps("b")["rung"] == "no extra buffers"


# ---- a crash while computing ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def working() -> Iterator[House]:
    """Models that crash while computing, each differently; all are of one kind, so each test forgets what was learned."""
    crashes = "SIGSEGV@batch:as it is:first,SIGFPE@late:as it is:late,SIGABRT@batch:*:never"
    with a_house(**{CRASH: crashes}) as made:
        for seed, name in enumerate(("first", "late", "never")):
            add(made, name, seed=seed)
        yield made
        made.stop()


@pytest.fixture
def unlearned(working: House) -> House:
    working.stop()
    kept(working).unlink(missing_ok=True)
    return working


def test_a_crash_at_the_first_batch_lowers_the_rung_and_the_request_is_answered(unlearned: House) -> None:
    house = unlearned
    outcome = house.ok("ask", "hi", "-m", "first", *SHORT)
    (said,) = notices(outcome)
    assert "'as it is' ended with SIGSEGV" in said
    assert house.ps("first")["rung"] == "no AMX"
    (known,) = json.loads(kept(house).read_bytes())["kinds"]
    assert [fall["stays"] for fall in known["falls"]] == [False], "it may have been chance: for a day"
    house.stop()
    document = json.loads(kept(house).read_bytes())
    document["kinds"][0]["falls"][0]["at"] -= 90_000
    kept(house).write_text(json.dumps(document))
    house.ok("ask", "after a day", "-m", "first", *SHORT, **{CRASH: ""})
    assert house.ps("first")["rung"] == "as it is"


def test_a_crash_after_a_first_answer_restarts_on_the_same_rung(unlearned: House) -> None:
    house = unlearned
    house.ok("ask", "one", "-m", "late", *SHORT)
    before = house.ps("late")["pid"]
    outcome = house.ok("ask", "two", "-m", "late", *SHORT)
    assert house.ps("late")["pid"] != before, "it died, and the request was answered by the next one"
    assert (notices(outcome), house.ps("late")["rung"], kept(house).exists()) == ([], "as it is", False)


def test_a_request_that_crashes_every_rung_fails_and_no_rung_is_blamed(unlearned: House) -> None:
    house = unlearned
    outcome = house.run("ask", "poison", "-m", "never", *SHORT)
    assert (outcome.status, outcome.out) == (9, "")
    for rung in LADDER:
        assert f"'{rung}' (SIGABRT)" in outcome.err
    assert not json.loads(kept(house).read_bytes() if kept(house).exists() else b'{"kinds":[]}')["kinds"]
    house.ok("ask", "hi", "-m", "late", *SHORT)
    assert house.ps("late")["rung"] == "as it is"
    outcome = house.run("ask", "poison again", "-m", "never", *SHORT)
    assert outcome.status == 9
    assert notices(outcome) == [], "no rung is tried again for it"


# ---- a file that changes under an engine ----------------------------------------------------------------------------


def test_a_model_file_truncated_while_in_use_is_reported_as_such(house: House) -> None:
    path = house.home / "m.gguf"
    tiny_gguf.write(path, dim=256, layers=4, context=100_000, forgetful=True)
    house.ok("models", "add", "m", path, "--set", "slots=1", "--set", "retained=0")
    command = house.spawn("ask", "hi", "-m", "m", "--max-tokens", "90000", "--logit-bias", "e=100")
    command.first_byte()
    size = path.stat().st_size
    os.truncate(path, 4096)
    outcome = command.end()
    assert outcome.status == 9
    assert f"(killed by SIGBUS): {path} had {size} bytes when it was loaded and has 4096 now" in outcome.err
    for _ in range(2):
        outcome = house.run("ask", "again", "-m", "m", *SHORT)
        assert outcome.status == 4
        assert str(path) in outcome.err
        assert notices(outcome) == []
    assert falls(house, "m") == []
    assert not kept(house).exists()


# ---- doctor ---------------------------------------------------------------------------------------------------------


def test_doctor_tries_each_kernel_and_reports_the_broken_ones(house: House) -> None:
    house.variables[CRASH] = "SIGSEGV@kernel:plain Q4_K,SIGILL@kernel:plain MXFP4,SIGSEGV@proof:as it is"
    add(house, "m")
    house.ok("ask", "hi", "-m", "m", *SHORT)
    outcome = house.run("daemon", "doctor", "--json", timeout=4 * PATIENCE_S)
    found = {line["check"]: line for line in outcome.lines}
    assert outcome.status == 3, "files of such a kind cannot be loaded"
    plain = found["kernels plain"]
    assert plain["state"] == "fail"
    assert "broken: Q4_K (SIGSEGV), MXFP4 (SIGILL); good: Q4_0, Q4_1," in plain["detail"]
    assert "Effect:" in plain["detail"]
    assert "--no-cache-dir --no-binary llama-cpp-python llama-cpp-python==" in plain["hint"]
    assert "models of F32 are not loaded on the rungs 'as it is' (SIGSEGV)" in found["crashes"]["detail"]
    whole = house.ok("daemon", "doctor", timeout=4 * PATIENCE_S, **{CRASH: ""}).out
    assert "ok    kernels plain: good: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2_K, Q3_K, Q4_K," in whole


def test_doctor_warns_of_broken_special_kernels_with_the_rebuild_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from llmctld.doctor import kernels
    from llmctld.native.tile_config import HEADER

    tried = [kernels.KernelResult("AMX", "Q4_0", "SIGSEGV"), kernels.KernelResult("AMX", "F16", "good")]
    monkeypatch.setattr(kernels, "outcomes", lambda: iter(tried))
    (verdict,) = kernels.reports()
    assert (verdict.broken, verdict.good) == (["Q4_0 (SIGSEGV)"], ["F16"])
    assert "1.5 to 2.8 times as long" in verdict.cost
    assert verdict.repair.startswith("CMAKE_ARGS=")
    assert f"-include {HEADER}" in verdict.repair
