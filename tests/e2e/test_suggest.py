"""`llmctl models suggest`: models to download for this machine, in the order of the memory and the bandwidth it has."""

import datetime
import json
import math
import subprocess
import sys
from collections.abc import Iterator

import pytest

from llmctl.suggestions import EFFICIENCY, ROWS, suggested
from tests.e2e.house import LLMCTL, House, until
from tests.e2e.house import house as a_house

LIST = {model.name: model for model in suggested().models}
FIELDS = [
    "name", "repo", "file", "quantization", "bytes", "exact", "sha256", "parameters", "active_parameters", "licence", "context",
    "good_at", "note", "memory_bytes", "fits", "tokens_per_second", "fetch", "dated",
]  # fmt: skip
ROOMY = {"LLMCTL_LIMITS__MEMORY_BYTES": "64G"}


@pytest.fixture(scope="module")
def surveyed() -> Iterator[House]:
    """A home in which the bandwidth has been measured."""
    with a_house() as made:
        made.ok("models", "suggest", "-q")
        yield made


def test_a_line_per_model_in_a_pipe_with_the_command_that_fetches_it(surveyed: House) -> None:
    outcome = surveyed.ok("models", "suggest", **ROOMY)
    head, *rows = outcome.out.splitlines()
    assert head.split() == ["MODEL", "GOOD", "AT", "SIZE", "MEMORY", "FITS", "TOK/S", "CONTEXT", "LICENCE", "FETCH"]
    assert sorted(row.rpartition("llmctl pull ")[2] for row in rows) == sorted(model.target for model in LIST.values())
    assert "models may use 64.0 GiB of memory, read at " in outcome.err
    assert f"(measured {datetime.date.today().isoformat()})" in outcome.err
    assert f"The list is dated {suggested().dated.isoformat()}" in outcome.err
    assert surveyed.ok("models", "suggest", "-q", **ROOMY).err == ""
    assert not surveyed.hub_runs(), "it starts no hub"


def test_json_lines_have_numbers_and_an_estimate_from_the_measured_bandwidth(surveyed: House) -> None:
    lines = surveyed.ok("models", "suggest", "--json", **ROOMY).lines
    assert [list(line) for line in lines] == [FIELDS] * len(LIST)
    assert {line["name"] for line in lines} == set(LIST)
    measured = json.loads((surveyed.place / "state" / "bandwidth.json").read_text())
    for line in lines:
        assert line["fits"] is True
        if line["good_at"] == ["embed"]:
            assert line["tokens_per_second"] is None
        else:
            read = line["bytes"] * line["active_parameters"] / line["parameters"]
            rows = ROWS * math.sqrt(line["active_parameters"] / 1e9)
            seconds = (read / measured["host"] + rows * measured["row_s"]) / EFFICIENCY
            assert line["tokens_per_second"] == pytest.approx(1 / seconds, abs=0.06, rel=0.01)
    granite = next(line for line in lines if line["active_parameters"] < line["parameters"])
    denser = next(
        line for line in lines if line["bytes"] < granite["bytes"] and line["name"] == "Qwen3 4B Instruct 2507"
    )
    assert granite["tokens_per_second"] > denser["tokens_per_second"], "a mixture of experts reads its active ones only"


def test_a_small_machine_gets_another_order_and_is_told_what_does_not_fit(surveyed: House) -> None:
    lines = surveyed.ok("models", "suggest", "--json", LLMCTL_LIMITS__MEMORY_BYTES="1500M").lines
    fits = [line["fits"] for line in lines]
    assert fits == sorted(fits, reverse=True)
    assert 0 < fits.count(True) < len(LIST)
    assert all(line["memory_bytes"] <= 1500 * 2**20 for line in lines if line["fits"])
    large = [line["memory_bytes"] for line in lines if not line["fits"]]
    assert large == sorted(large)
    rows = surveyed.ok("models", "suggest", LLMCTL_LIMITS__MEMORY_BYTES="1500M").out.splitlines()
    assert any(row.startswith("Qwen3 14B") and "  no  " in row for row in rows)
    (surveyed.place / "config.toml").write_text('[limits]\nmemory_bytes = "1500M"\n')
    try:
        assert surveyed.ok("models", "suggest", "--json").lines == lines, "the file says the same"
    finally:
        (surveyed.place / "config.toml").unlink()


@pytest.mark.parametrize("purpose", ["chat", "code", "embed", "tools"])
def test_for_leaves_the_models_that_are_good_at_it(surveyed: House, purpose: str) -> None:
    lines = surveyed.ok("models", "suggest", "--for", purpose, "--json", **ROOMY).lines
    assert {line["name"] for line in lines} == {name for name, model in LIST.items() if purpose in model.good_at}


def test_an_unknown_purpose_is_status_2_and_names_the_choices(surveyed: House) -> None:
    outcome = surveyed.run("models", "suggest", "--for", "nothing")
    assert (outcome.status, outcome.out) == (2, "")
    assert "invalid value for '--for': 'nothing' is not one of 'chat', 'code', 'embed', 'tools'" in outcome.err


def test_a_broken_configuration_is_status_2_and_names_the_key(surveyed: House) -> None:
    outcome = surveyed.run("models", "suggest", LLMCTL_LIMITS__MEMORY_BYTES="lots", LLMCTL_LIMITS__MEMORY="1")
    assert outcome.status == 2
    assert "LLMCTL_LIMITS__MEMORY" in outcome.err


def test_every_command_that_is_printed_is_one_that_pull_takes(surveyed: House) -> None:
    """Nobody listens at the endpoint: a command line that `pull` did not take would be status 2 or 5."""
    for line in surveyed.ok("models", "suggest", "--json").lines[:2]:
        program, *arguments = line["fetch"].split()
        assert program == "llmctl"
        outcome = surveyed.run(*arguments, HF_ENDPOINT="http://127.0.0.1:9", LLMCTL_RESOURCES__MAX_WAIT="5s")
        assert outcome.status == 4, outcome
        assert f"http://127.0.0.1:9 cannot be reached for {line['repo']}" in outcome.err
    surveyed.stop()


def test_the_bandwidth_is_measured_once_and_again_when_asked(surveyed: House) -> None:
    file = surveyed.place / "state" / "bandwidth.json"
    stored = json.loads(file.read_text()) | {"measured": "2026-01-02", "host": 1e9}
    file.write_text(json.dumps(stored))
    assert "read at 1 GB/s (measured 2026-01-02)" in surveyed.ok("models", "suggest").err
    assert json.loads(file.read_text()) == stored, "a measurement that holds is kept"
    surveyed.ok("models", "suggest", "--measure")
    assert json.loads(file.read_text())["measured"] == datetime.date.today().isoformat()
    for other in (json.dumps(stored | {"key": "another build"}), "{"):
        file.write_text(other)
        surveyed.ok("models", "suggest")
        assert json.loads(file.read_text())["measured"] == datetime.date.today().isoformat()


def test_a_state_folder_that_cannot_be_written_is_no_error(surveyed: House) -> None:
    outcome = surveyed.ok("models", "suggest", "-q", LLMCTL_HOME="/proc/nowhere")
    assert len(outcome.out.splitlines()) == len(LIST) + 1


def test_a_build_without_llama_cpp_gives_no_rates_and_says_so(surveyed: House) -> None:
    outcome = surveyed.ok("models", "suggest", "--json", LLAMA_CPP_LIB_PATH=str(surveyed.home))
    assert {line["tokens_per_second"] for line in outcome.lines} == {None}
    err = surveyed.ok("models", "suggest", LLAMA_CPP_LIB_PATH=str(surveyed.home)).err
    assert "the memory bandwidth could not be measured" in err


def test_ctrl_c_ends_it_at_once_and_quietly(surveyed: House) -> None:
    (surveyed.home / "sitecustomize.py").write_text(
        "import sys\nif 'llmctld.survey' in ' '.join(sys.orig_argv):\n"
        "    import time; open('surveying', 'w').close(); time.sleep(600)\n"
    )
    command = surveyed.spawn("models", "suggest", variables={"PYTHONPATH": str(surveyed.home)})
    until((surveyed.home / "surveying").exists)
    command.interrupt()
    outcome = command.end()
    assert (outcome.status, outcome.out, outcome.err) == (130, "", "")
    assert surveyed.ended()


def test_the_error_for_no_model_names_the_best_that_fits(surveyed: House) -> None:
    best = surveyed.ok("models", "suggest", "--for", "chat", "--json").lines[0]
    for outcome in (surveyed.ok("models", "ls"), surveyed.run("ask", "hi", "-m", "nothing"), surveyed.run()):
        assert best["fetch"] in outcome.err
    surveyed.stop()


def test_a_reader_that_goes_away_ends_it_quietly(surveyed: House) -> None:
    outcome = surveyed.shell("llmctl models suggest -q | head -1")
    assert (outcome.status, outcome.out.split()[0], outcome.err) == (0, "MODEL", "")


def test_the_client_imports_nothing_slow_for_it() -> None:
    script = (
        "import sys; import llmctl.cli.models.suggest, llmctl.suggestions, llmctl.view.suggest; llmctl.suggestions.best_fit(); "
        "print(*sorted({'numpy', 'torch', 'asyncio', 'pydantic', 'llmctld', 'psutil'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert (done.stdout, LLMCTL.exists()) == ("\n", True)
