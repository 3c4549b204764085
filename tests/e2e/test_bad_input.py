"""Bad input: each case is a clear error with its status and a hint, and loses no data."""

import os
import resource
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from tests import tiny_gguf
from tests.e2e.house import LLMCTL, PATIENCE_S, House, Outcome, until


def refused(outcome: Outcome, status: int, *words: object) -> None:
    assert outcome.status == status, outcome
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    for word in words:
        assert str(word) in outcome.err, (word, outcome.err)


# ---- models ---------------------------------------------------------------------------------------------------------


def test_adding_a_missing_model_file_is_refused(house: House) -> None:
    refused(house.run("models", "add", "m", "nowhere.gguf"), 4, "nowhere.gguf")
    assert house.ok("models", "ls", "--json").out == ""


@pytest.mark.parametrize(
    "content", [b"", b"GGUF", b"not a model at all" * 100, b"GGUF\x03\x00\x00\x00" + b"\xff" * 4000]
)
def test_a_corrupt_model_file_is_refused(house: House, content: bytes) -> None:
    path = house.home / "broken.gguf"
    path.write_bytes(content)
    added = house.run("models", "add", "m", path)
    refused(added if added.status else house.run("ask", "hi", "-m", "m"), 4, "broken.gguf")
    assert house.hub_runs()


@pytest.mark.parametrize(
    ("left", "words"),
    [
        (-2000, "is truncated: it has {size} bytes, and its tensors need"),
        (3000, "ends within its header: it is truncated"),
    ],
)
def test_adding_a_truncated_model_file_is_refused(house: House, tiny: Path, left: int, words: str) -> None:
    path = house.home / "cut.gguf"
    path.write_bytes(tiny.read_bytes()[:left])
    said = words.format(size=path.stat().st_size)
    refused(house.run("models", "add", "m", path), 4, path, said, "Download or copy it again.")
    whole = house.home / "whole.gguf"
    whole.write_bytes(tiny.read_bytes())
    refused(house.run("models", "add", "m", whole, "--set", f"draft={path}"), 4, path, said)
    house.ok("models", "add", "m", whole)
    house.ok("ask", "hi", "-m", "m", "--max-tokens", "2")
    whole.write_bytes(path.read_bytes())
    outcome = house.run("ask", "hello", "-m", "m")
    assert outcome.status == 4
    assert "Traceback" not in outcome.err
    assert house.hub_runs()


def test_asking_a_model_whose_file_was_deleted_is_a_model_error(house: House, tiny: Path) -> None:
    path = house.home / "soon.gguf"
    path.write_bytes(tiny.read_bytes())
    house.ok("models", "add", "m", path)
    path.unlink()
    refused(house.run("ask", "hi"), 4, path)


def test_an_unknown_model_suggests_similar_names(shared: House) -> None:
    refused(shared.run("ask", "hi", "-m", "ecko"), 4, "ecko", "echo")


def test_asking_without_any_model_says_how_to_add_one(house: House) -> None:
    refused(house.run("ask", "hi", LLMCTL_DEFAULTS__GUIDE="false"), 4, "llmctl models add")


@pytest.mark.parametrize("name", ["", "../x", "a b", ".hidden", "a/b"])
def test_an_invalid_model_name_is_refused(shared: House, name: str) -> None:
    outcome = shared.run("models", "add", name, "echo")
    assert outcome.status in (2, 5)
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("setting", ["slots=none", "slotz=3", "slots", "context=-5"])
def test_an_invalid_model_setting_is_refused_and_named(shared: House, setting: str) -> None:
    outcome = shared.run("models", "add", "wrong", "echo", "--set", setting)
    assert outcome.status in (2, 5), outcome
    assert setting.partition("=")[0] in outcome.err


# ---- prompts --------------------------------------------------------------------------------------------------------


@pytest.fixture
def small(house: House, tmp_path: Path) -> House:
    path = tmp_path / "small.gguf"
    tiny_gguf.write(path, seed=7, context=128)
    house.ok("models", "add", "small", path)
    return house


def test_a_prompt_longer_than_the_context_is_refused_with_both_lengths(small: House) -> None:
    outcome = small.run("ask", "word " * 400, "--json")
    assert outcome.status == 5
    assert outcome.error["code"] == "context_overflow"
    assert "128" in outcome.error["message"]
    assert any(int(word) > 128 for word in outcome.error["message"].replace(",", "").split() if word.isdigit())
    assert outcome.out == ""
    assert small.ok("ask", "a short one", "--max-tokens", "3").status == 0


def test_max_tokens_is_clipped_to_the_remaining_context(small: House) -> None:
    last = small.ok("ask", "hi", "--max-tokens", "100000", "--json", "--no-stream").last
    assert last["usage"]["prompt_tokens"] + last["usage"]["completion_tokens"] <= 128


def test_a_prompt_over_the_byte_limit_is_refused(house: House) -> None:
    house.variables["LLMCTL_LIMITS__PROMPT_BYTES"] = "1K"
    house.echo()
    outcome = house.run("ask", stdin="x" * 1025)
    refused(outcome, 5, "1024", "1025")
    assert house.ok("ask", stdin="x" * 1024).status == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--temperature", "2.1"),
        ("--temperature", "-0.1"),
        ("--temperature", "nan"),
        ("--max-tokens", "0"),
        ("--max-tokens", "-1"),
        ("--top-p", "1.5"),
        ("--top-k", "-1"),
        ("--min-p", "2"),
        ("--repeat-penalty", "-1"),
        ("--logit-bias", "5=1000"),
        ("--timeout", "0"),
    ],
    ids="=".join,
)
def test_a_field_out_of_range_is_refused_with_its_value(shared: House, options: tuple[str, str]) -> None:
    outcome = shared.run("ask", "hi", *options, "--json")
    assert outcome.status == 5, outcome
    assert outcome.error["code"] == "invalid_request"
    assert options[0].strip("-").replace("-", "_") in outcome.error["message"].replace("-", "_")


@pytest.mark.parametrize(
    "options",
    [
        ("--temperature", "warm"),
        ("--max-tokens", "many"),
        ("--max-age", "soon"),
        ("--timeout", "-3s"),
        ("--logit-bias", "5"),
        ("-p", "novalue"),
        ("--no-such-flag",),
        ("--cache", "--no-cache"),
    ],
    ids="=".join,
)
def test_invalid_arguments_are_status_2_without_a_traceback(shared: House, options: tuple[str, ...]) -> None:
    outcome = shared.run("ask", "hi", *options)
    assert outcome.status == 2, outcome
    assert "Traceback" not in outcome.err


@pytest.mark.parametrize("prompt", ["", "  \n"])
def test_an_empty_prompt_is_refused(shared: House, prompt: str) -> None:
    refused(shared.run("ask", prompt), 5, "prompt")
    refused(shared.run("ask", stdin=prompt), 5, "prompt")


def test_a_missing_prompt_is_refused(shared: House) -> None:
    assert shared.run("ask").status in (2, 5)


def test_a_stdin_placeholder_without_stdin_is_refused(shared: House) -> None:
    refused(shared.run("ask", "about {stdin}"), 5, "stdin")


def test_input_that_is_not_utf8_is_refused(shared: House) -> None:
    refused(shared.run("ask", stdin=b"caf\xe9 \xff\xfe"), 5, "UTF-8")
    (shared.home / "binary").write_bytes(b"\x7fELF\x00\xff")
    refused(shared.run("ask", "read", "-f", "binary"), 5, "binary")


def test_a_missing_input_file_is_refused(shared: House) -> None:
    refused(shared.run("ask", "read", "-f", "nothing.txt"), 5, "nothing.txt")


def test_surrogates_in_an_argument_are_refused(shared: House) -> None:
    done = subprocess.run(
        [os.fsencode(LLMCTL), b"ask", b"caf\xe9"], env=shared.environ(), capture_output=True, stdin=subprocess.DEVNULL,
        timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 5
    assert b"Traceback" not in done.stderr


# ---- configuration --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[cache]\nttll = 3\n", "cache.ttll"),
        ("[cach]\n", "cach"),
        ('[limits]\nqueue = "x"\n', "limits.queue"),
        ("[", "config.toml"),
    ],
)
def test_an_invalid_configuration_is_refused_with_key_and_file(house: House, text: str, key: str) -> None:
    house.place.mkdir()
    path = house.place / "config.toml"
    path.write_text(text)
    for command in (["ask", "hi"], ["ps"], ["config", "check"], ["models", "add", "echo", "echo"]):
        refused(house.run(*command), 2, key, path)
    for command in (["daemon", "status"], ["daemon", "stop"], ["daemon", "doctor"], ["config", "path"], ["--help"]):
        assert house.run(*command).status != 2, command
    assert path.read_text() == text


def test_an_invalid_environment_variable_is_refused_by_name(house: House) -> None:
    refused(house.run("ask", "hi", LLMCTL_CACHE__TTLL="3"), 2, "LLMCTL_CACHE__TTLL")


def test_a_configuration_broken_while_the_hub_runs_fails_ask_but_not_status_or_stop(house: House) -> None:
    house.echo()
    (house.place / "config.toml").write_text("nonsense = 1\n")
    assert house.run("ask", "hi").status == 2
    assert house.ok("daemon", "status", "--json").last["state"] == "running"
    house.ok("daemon", "stop")
    assert house.ended()


# ---- folders and disks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folder", ["", "state", "run", "cache"])
def test_a_folder_that_cannot_be_created_is_status_3_and_named(house: House, folder: str) -> None:
    """A file is in the place of the folder, which stops root too."""
    blocked = house.place / folder if folder else house.place
    blocked.parent.mkdir(exist_ok=True)
    blocked.write_text("in the way")
    outcome = house.run("models", "add", "echo", "echo")
    refused(outcome, 3, blocked)
    assert blocked.read_text() == "in the way"


def test_a_home_that_is_not_writable_is_status_3_and_named(house: House) -> None:
    outcome = house.run("models", "add", "echo", "echo", LLMCTL_HOME="/proc/llmctl")
    refused(outcome, 3, "/proc/llmctl")


def test_a_damaged_history_is_set_aside_and_said_once(house: House) -> None:
    house.echo().stop()
    path = house.place / "state" / "history.db"
    path.write_bytes(b"this is no database, " * 200)
    outcome = house.ok("ask", "hi")
    assert outcome.out == "hi\n"
    (aside,) = path.parent.glob("history.db.damaged-*")
    assert f"the history was damaged ({path} " in outcome.err
    assert f"a new one was created; the old one is now {aside}" in outcome.err
    assert aside.read_bytes().startswith(b"this is no database")
    assert "the history" not in house.ok("ask", "hi").err
    assert [row["state"] for row in house.records()] == ["done", "done"]


@pytest.mark.parametrize("harm", ["removed", "emptied", "folder"])
def test_a_history_that_is_lost_under_a_running_hub_is_said_and_begun_anew(house: House, harm: str) -> None:
    house.echo()
    house.ok("ask", "before")
    path = house.place / "state" / "history.db"
    with house.still():
        if harm == "removed":
            path.unlink()
        elif harm == "emptied":
            os.truncate(path, 0)
        else:
            shutil.rmtree(path.parent)
    outcomes = [house.ok("ask", "after"), house.ok("ask", "later")]
    said = [outcome.err for outcome in outcomes if "the history was" in outcome.err]
    assert len(said) == 1
    assert ("was truncated" if harm == "emptied" else "was removed") in said[0]
    os.kill(house.status()["pid"], signal.SIGKILL)
    prompts = [row["prompt"] for row in house.records("prompt")]
    assert prompts == ["after", "later"]


def test_a_damaged_cache_fails_no_request(house: House) -> None:
    house.echo()
    house.ok("ask", "hi")
    house.stop()
    for path in (house.place / "cache").rglob("*.db*"):
        path.write_bytes(b"damaged" * 1000)
    assert house.ok("ask", "hi").out == "hi\n"


@pytest.fixture
def full_disk(tmp_path: Path) -> "object":
    """A file system of 4 MB, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], capture_output=True, check=False
    ).returncode:
        pytest.skip("mounting needs privileges")
    yield place
    subprocess.run(["umount", "-l", place], check=False)


def test_a_full_disk_loses_no_acknowledged_answer(house: House, full_disk: Path) -> None:
    """The answer is printed, then the status is 14; once there is room, everything stored before is found."""
    house.variables["LLMCTL_HOME"] = str(full_disk / "h")
    house.place = full_disk / "h"
    house.echo()
    house.ok("ask", "kept")
    filler = full_disk / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    text = "t" * 3000
    outcome = house.run("ask", text, "--max-tokens", "6000", "--json", "--no-stream")
    assert outcome.status == 14, outcome
    assert outcome.error["code"] == "storage"
    assert outcome.last["text"] == text, "printed first"
    assert house.ok("daemon", "status", "--json").last["state"] == "running"
    assert house.run("ask", "kept", "-q").out == "kept\n"
    filler.unlink()
    assert house.ok("ask", "after", "-q").out == "after\n"
    house.ok("daemon", "restart")
    assert house.ok("ask", "kept", "--json", "--no-stream").last["cache"]["hit"] == "disk"
    assert {row["state"] for row in house.records(where="prompt LIKE '%kept%' OR prompt LIKE '%after%'")} == {"done"}


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_a_full_disk_can_be_cleared_from_cold(house: House, full_disk: Path, end: str) -> None:
    """The hub starts without room for a byte, since it is needed to make some."""
    house.variables["LLMCTL_HOME"] = str(full_disk / "h")
    house.place = full_disk / "h"
    house.echo(context=300_000)
    for number in range(12):
        house.ok("ask", f"{number}" + "t" * 25_000, "-q", "--max-tokens", "30000")
    if end == "stop":
        house.stop()
    else:
        os.kill(house.status()["pid"], signal.SIGKILL)
        until(lambda: not house.hub_runs())
    with suppress(OSError), (full_disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    assert house.run("ask", "hi").status in (0, 14)
    house.stop()
    assert "removed " in house.ok("cache", "clear", "--yes").err
    house.ok("daemon", "restart")
    outcome = house.ok("ask", "hi")
    assert outcome.out == "hi\n"
    assert "not recorded" not in outcome.err
    (full_disk / "filler").unlink()  # this test's reader needs some room too
    assert house.records("prompt", "state = 'done' AND prompt = 'hi'")


def test_a_history_that_cannot_be_opened_stops_no_request_and_is_said_each_time(house: House) -> None:
    house.echo().stop()
    path = house.place / "state" / "history.db"
    for each in path.parent.glob("history.db*"):
        each.unlink()
    path.symlink_to(house.home / "absent" / "history.db")
    for question in ("one", "two"):
        outcome = house.ok("ask", question)
        assert outcome.out == f"{question}\n"
        assert f"this request is not recorded: {path} " in outcome.err
        assert "`llmctl daemon restart`" in outcome.err
    path.unlink()
    house.ok("daemon", "restart")
    assert "not recorded" not in house.ok("ask", "three").err
    assert [row["prompt"] for row in house.records("prompt")] == ["three"]


def test_a_file_size_limit_is_handled_like_a_full_disk(house: House) -> None:
    """The same through RLIMIT_FSIZE, which needs no privileges."""
    house.echo(context=300_000).stop()

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))

    started = subprocess.run(
        [str(LLMCTL), "daemon", "start"], env=house.environ(), preexec_fn=limited, check=False, capture_output=True,
        stdin=subprocess.DEVNULL, timeout=PATIENCE_S,
    )  # fmt: skip
    assert started.returncode == 0, started
    house.ok("ask", "kept")
    text, status = "t" * 50_000, 0
    for number in range(12):
        outcome = house.run("ask", f"{number}{text}", "--max-tokens", "60000", "-q")
        assert outcome.out == f"{number}{text}\n", "the answer comes, whatever the disk says"
        status = max(status, outcome.status)
    assert status == 14
    assert house.hub_runs()
    house.ok("daemon", "restart")
    assert house.ok("ask", "kept", "--json", "--no-stream").last["cache"]["hit"] == "disk"
    assert house.running() == 0


def test_an_engine_that_dies_gives_each_user_their_own_text_and_nobody_elses(house: House) -> None:
    """One failure ends both requests; what one user had got stood in the other's reply."""
    house.echo(token_ms=40)
    words = {user: " ".join([user] * 400) for user in ("ana", "bo")}
    asking = {
        user: house.spawn("ask", text, "--user", user, "--json", "--no-stream", "--no-cache", "--max-tokens", "2000")
        for user, text in words.items()
    }
    until(lambda: len(house.records(where="length(text) > 0")) == 2, what="both have text, which is noted each second")
    for engine in house.engines():
        engine.kill()
    for user, command in asking.items():
        outcome = command.end()
        assert outcome.status == 9, outcome
        assert outcome.last["text"], outcome
        assert words[user].startswith(outcome.last["text"])
        assert outcome.last["user"] == user
    assert {row["user"]: row["text"][:2] for row in house.records("user, text")} == {"ana": "an", "bo": "bo"}


def test_a_killed_idle_engine_is_restarted_by_the_next_request(house: House) -> None:
    house.echo()
    house.ok("ask", "hi")
    for engine in house.engines():
        engine.kill()
    until(lambda: not house.engines())
    assert house.ok("ask", "ho").out == "ho\n"


# ---- what strangers tried -------------------------------------------------------------------------------------------


def test_adding_a_named_pipe_as_a_model_is_refused_and_blocks_nothing(house: House) -> None:
    house.echo()
    os.mkfifo(house.home / "pipe")
    refused(house.run("models", "add", "m", house.home / "pipe"), 4, "not a regular file")
    assert house.ok("ask", "hi").out == "hi\n"


def test_one_corrupt_model_file_affects_no_other_model(house: House) -> None:
    house.echo().stop()
    (house.place / "models" / "broken.json").write_bytes(b"\x00\x01 no json")
    assert house.ok("ask", "hi").out == "hi\n"
    listed = house.ok("models", "ls", "--json")
    assert [line["name"] for line in listed.lines] == ["echo"]
    assert "cannot read " in listed.err
    assert "broken.json: " in listed.err
    for command in (("ask", "hi", "-m", "broken"), ("models", "show", "broken"), ("models", "load", "broken")):
        refused(house.run(*command), 4, "the file of the model broken is damaged", "broken.json", "models add broken")
    house.ok("models", "add", "broken", "echo")
    assert house.ok("ask", "hi", "-m", "broken").out == "hi\n"


def test_doctor_reports_what_prevents_the_hub_from_starting(house: House) -> None:
    house.echo().stop()
    (house.place / "state" / "history.db").write_bytes(b"this is no database, " * 200)
    (house.place / "models" / "broken.json").write_bytes(b"{")
    outcome = house.run("daemon", "doctor", "--json", timeout=4 * PATIENCE_S)
    assert outcome.status == 3
    failed = {line["check"]: line["hint"] for line in outcome.lines if line["state"] == "fail"}
    assert failed.keys() == {"history", "model"}
    assert ".recover" in failed["history"]


def test_a_relative_home_is_the_same_folder_for_command_and_hub(house: House) -> None:
    folder = house.home / "here"
    folder.mkdir()
    script = f"cd {folder} && export LLMCTL_HOME=there && llmctl models add e echo -q && llmctl ask hi -q; llmctl daemon stop"
    outcome = house.shell(script)
    assert outcome.out.startswith("hi\n")
    assert (folder / "there" / "state" / "history.db").exists()


def test_endless_input_is_refused(house: House) -> None:
    house.echo()
    refused(house.run("ask", "hi", "-f", "/dev/zero"), 5, "/dev/zero")


def test_a_missing_configuration_file_given_by_name_is_refused(house: House) -> None:
    refused(house.run("ask", "hi", LLMCTL_CONFIG=str(house.home / "nowhere.toml")), 2, "nowhere.toml", "LLMCTL_CONFIG")


def test_removing_the_cache_folder_fails_no_request(house: House) -> None:
    house.echo()
    house.ok("ask", "hi")
    with house.still():
        shutil.rmtree(house.place / "cache")
    assert house.ok("ask", "other").out == "other\n"
    assert house.ok("ask", "hi").out == "hi\n"
