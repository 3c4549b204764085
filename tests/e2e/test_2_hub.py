"""Item 2, the hub: it starts on demand, only one runs, stale files do not stop it, and it shuts down cleanly."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from tests.e2e.house import PATIENCE_S, House, alive, gone, until, with_signal

LONG = "x" * 2000
"""A prompt that an echo model answers with 2,000 tokens; of a second each, that ends in no test."""


def test_read_only_commands_start_no_hub(house: House) -> None:
    for command in (["ps"], ["models", "ls"], ["templates", "ls"], ["cache", "stats"], ["config", "show"], ["--help"]):
        house.run(*command)
        assert not house.daemons(), command
    assert house.run("daemon", "status").status == 3
    assert not house.daemons()


def test_hub_starts_at_the_first_command_and_holds_no_pipe_of_its_caller(house: House) -> None:
    outcome = house.shell('llmctl models add echo echo >/dev/null; x=$(llmctl ask "hi there" | cat); echo "got $x"')
    assert (outcome.status, outcome.out) == (0, "got hi there\n")
    assert len([process for process in house.daemons() if process.pid == house.hub().pid]) == 1


def test_the_hub_runs_in_its_own_session(house: House) -> None:
    house.echo()
    assert os.getsid(house.hub().pid) == house.hub().pid


def test_eight_concurrent_first_commands_start_one_hub(house: House) -> None:
    house.echo().stop()
    assert house.ended()
    outcome = house.shell("seq 8 | xargs -P 8 -I{} llmctl ask 'number {}' --no-stdin --no-stream")
    assert outcome.status == 0, outcome
    assert sorted(outcome.out.split("\n")[:-1]) == [f"number {n}" for n in range(1, 9)]
    hubs = [process for process in house.daemons() if process.pid not in {engine.pid for engine in house.engines()}]
    assert [hub.pid for hub in hubs] == [house.hub().pid]
    assert [row["state"] for row in house.records()] == ["done"] * 8


def test_a_stale_socket_and_a_stale_hub_json_do_not_prevent_a_start(house: House) -> None:
    house.echo().stop()
    house.socket.unlink(missing_ok=True)
    with closing(socket.socket(socket.AF_UNIX)) as left:
        left.bind(str(house.socket))
    house.hub_file.write_text(
        json.dumps({"pid": 2**22 - 3, "version": "0.0.1", "protocol": 1, "socket": str(house.socket)})
    )
    assert house.ok("ask", "hi").out == "hi\n"


def test_sigkill_of_the_hub_leaves_no_engine_and_the_next_command_answers(house: House) -> None:
    house.echo()
    house.ok("ask", "hi")
    hub, engines = house.hub(), house.engines()
    assert engines
    hub.kill()
    gone([hub, *engines])
    assert house.ok("ask", "hello").out == "hello\n"
    assert house.hub().pid != hub.pid


def test_sigkill_of_the_hub_ends_a_busy_engine(house: House) -> None:
    house.echo(token_ms=1000)
    asking = house.spawn("ask", LONG)
    asking.first_byte()
    hub, engines = house.hub(), house.engines()
    hub.kill()
    gone([hub, *engines])
    outcome = asking.end()
    assert outcome.status == 3, "the client notices by itself"
    assert "Traceback" not in outcome.err


def test_a_second_hub_is_refused_by_the_lock(house: House) -> None:
    house.echo()
    first = house.hub().pid
    second = subprocess.run(
        [sys.executable, "-m", "llmctld"], env=house.environ(), capture_output=True, text=True, check=False, timeout=PATIENCE_S,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert second.returncode != 0
    assert "Traceback" not in second.stderr
    assert house.hub().pid == first
    assert house.ok("ask", "still here").out == "still here\n"


def test_the_folders_are_private_and_nothing_stored_is_a_pickle(house: House) -> None:
    house.echo()
    house.ok("ask", "keep this")
    for folder in (house.place / "run", house.place / "state", house.place / "cache"):
        assert folder.stat().st_mode & 0o077 == 0, folder
    house.stop()
    modes = []
    for path in (house.place / "cache" / "answers").rglob("*.db"):
        with closing(sqlite3.connect(path)) as connection:
            modes += [row[0] for row in connection.execute("SELECT mode FROM Cache")]
    assert modes, "the answer is on disk"
    assert set(modes) <= {1, 2}, "diskcache's raw and file modes; 4 would be a pickle"


def test_a_symlinked_socket_folder_is_refused(house: House, tmp_path: Path) -> None:
    house.place.mkdir()
    (house.place / "run").symlink_to(tmp_path)
    outcome = house.run("models", "add", "echo", "echo")
    assert outcome.status == 3
    assert str(house.place / "run") in outcome.err


@pytest.mark.skipif(os.getuid() != 0, reason="giving a folder away needs root")
def test_a_socket_folder_owned_by_another_user_is_refused(house: House) -> None:
    (house.place / "run").mkdir(parents=True)
    os.chown(house.place / "run", 65534, 65534)
    outcome = house.run("models", "add", "echo", "echo")
    assert outcome.status == 3
    assert str(house.place / "run") in outcome.err


def test_a_home_with_a_long_name_gets_a_short_socket(house: House) -> None:
    place = str(house.home / ("deep" * 20) / ("deeper" * 20))
    house.ok("models", "add", "echo", "echo", LLMCTL_HOME=place)
    assert house.ok("ask", "hi", LLMCTL_HOME=place).out == "hi\n"
    found = house.ok("daemon", "status", "--json", LLMCTL_HOME=place).last["socket"]
    assert len(found) <= 100
    assert Path(found).parent.stat().st_mode & 0o077 == 0
    house.ok("daemon", "stop", LLMCTL_HOME=place)
    Path(found).unlink(missing_ok=True)


def test_a_vanished_client_is_noticed_without_another_command(house: House) -> None:
    house.echo(token_ms=1000)
    asking = house.spawn("ask", LONG)
    asking.first_byte()
    assert house.busy("echo") == 1
    asking.kill()
    until(lambda: house.running() == 0, what="the end of the vanished client's request, which would take half an hour")
    until(lambda: house.status()["requests_in_flight"] == 0)
    until(lambda: house.busy("echo") == 0)
    assert [row["state"] for row in house.records()] == ["cancelled"]


def test_a_client_that_vanishes_before_the_first_token_is_noticed(house: House) -> None:
    house.echo(first_ms=10 * PATIENCE_S * 1000)
    asking = house.spawn("ask", "hi")
    until(lambda: house.running() == 1)
    asking.kill()
    until(lambda: house.running() == 0)
    until(lambda: house.busy("echo") == 0)
    assert [row["state"] for row in house.records()] == ["cancelled"]


def test_sigterm_lets_running_requests_finish(house: House) -> None:
    house.echo(token_ms=10)
    asking = house.spawn("ask", "y" * 50)  # half a second; the hub drains for ten
    asking.first_byte()
    hub = house.hub()
    with_signal(hub, signal.SIGTERM)
    assert asking.end().out == "y" * 50 + "\n"
    gone([hub])
    assert house.ended()


def test_stop_cancels_and_names_requests_that_exceed_the_timeout(house: House) -> None:
    house.echo(token_ms=1000)
    asking = house.spawn("ask", LONG, "--json")
    asking.first_byte()
    identity = until(house.records)[0]["id"]
    outcome = house.ok("daemon", "stop", "--timeout", "0.2s")
    assert identity[:12] in outcome.out + outcome.err
    ended = asking.end()
    assert ended.status == 143, ended
    assert ended.last["finish_reason"] == "cancelled"
    assert 0 < len(ended.last["text"]) < 2000
    assert house.ended()
    assert [row["state"] for row in house.records()] == ["cancelled"]


def test_a_draining_hub_does_not_keep_a_new_request_waiting_forever(house: House) -> None:
    house.echo(token_ms=10)
    asking = house.spawn("ask", "z" * 50)
    asking.first_byte()
    with_signal(house.hub(), signal.SIGTERM)
    assert house.ok("ask", "next").out == "next\n", "the next hub answers it"
    assert asking.end().status == 0


def test_start_stop_and_status_are_idempotent(house: House) -> None:
    assert house.run("daemon", "status", "--json").lines[0]["state"] == "stopped"
    assert house.run("daemon", "status").status == 3
    house.ok("daemon", "stop")
    house.ok("daemon", "start")
    pid = house.hub().pid
    house.ok("daemon", "start")
    assert house.hub().pid == pid
    found = house.ok("daemon", "status", "--json").last
    assert set(found) == {
        "state", "pid", "version", "protocol", "uptime_s", "socket", "models", "requests_in_flight",
    }  # fmt: skip
    assert (found["state"], found["pid"], found["socket"]) == ("running", pid, str(house.socket))
    house.ok("daemon", "restart")
    assert house.hub().pid != pid
    house.ok("daemon", "stop")
    assert house.ended()
    house.ok("daemon", "stop")
    assert house.run("daemon", "status").status == 3


def test_the_hub_ends_when_its_socket_vanishes(house: House) -> None:
    house.echo()
    hub = house.hub()
    house.socket.unlink()
    gone([hub])
    assert house.ok("ask", "hi").out == "hi\n"


def test_a_long_idle_hub_uses_no_processor_time(house: House) -> None:
    house.echo()
    house.ok("ask", "hi")
    processes = [house.hub(), *house.engines()]
    begun, spent = time.monotonic(), seconds_of(processes)

    def idle() -> bool:
        """An idle second takes less than a twentieth of processor time; a polling loop takes more."""
        nonlocal begun, spent
        now, used = time.monotonic(), seconds_of(processes)
        if now - begun < 1.0:
            return False
        share, begun, spent = (used - spent) / (now - begun), now, used
        return share < 0.05

    until(idle, what="a second in which nobody computes")


def seconds_of(processes: list[psutil.Process]) -> float:
    """The processor time that these processes have used."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


# ---- versions -------------------------------------------------------------------------------------------------------


@pytest.fixture
def older(tmp_path: Path) -> dict[str, str]:
    """Variables under which `llmctl` and the hub that it starts say that they are version 0.0.9."""
    (tmp_path / "sitecustomize.py").write_text("import llmctl\nllmctl.__version__ = '0.0.9'\n")
    return {"PYTHONPATH": str(tmp_path)}


@pytest.fixture
def foreign(tmp_path: Path) -> dict[str, str]:
    """Variables under which `llmctl` and its hub speak protocol 99."""
    (tmp_path / "sitecustomize.py").write_text("import llmctl.wire\nllmctl.wire.PROTOCOL = 99\n")
    return {"PYTHONPATH": str(tmp_path)}


def test_an_idle_hub_of_the_old_version_is_restarted(house: House, older: dict[str, str]) -> None:
    house.ok("models", "add", "echo", "echo", **older)
    assert house.ok("daemon", "status", "--json").last["version"] == "0.0.9"
    pid = house.hub().pid
    assert house.ok("ask", "hi").out == "hi\n"
    assert house.hub().pid != pid
    assert house.status()["version"] != "0.0.9"


def test_a_busy_hub_of_the_old_version_is_reported_with_a_hint(house: House, older: dict[str, str]) -> None:
    house.ok("models", "add", "echo", "echo", "--set=token_ms=1000", **older)
    asking = house.spawn("ask", LONG, variables=older)
    asking.first_byte()
    outcome = house.ok("ask", "hi")
    assert outcome.out == "hi\n", "it speaks the same protocol"
    assert "0.0.9" in outcome.err
    assert "llmctl daemon restart" in outcome.err
    assert asking.poll() is None, "the other's request goes on"
    house.ok("daemon", "restart", "--timeout", "0.1s")
    assert house.ok("ask", "hi").out == "hi\n"


def test_an_idle_hub_of_another_protocol_is_restarted(house: House, foreign: dict[str, str]) -> None:
    house.ok("models", "add", "echo", "echo", **foreign)
    assert house.ok("ask", "hi").out == "hi\n"


def test_a_busy_hub_of_another_protocol_is_reported(house: House, foreign: dict[str, str]) -> None:
    house.ok("models", "add", "echo", "echo", "--set=token_ms=1000", **foreign)
    asking = house.spawn("ask", LONG, variables=foreign)
    asking.first_byte()
    outcome = house.run("ask", "hi")
    assert outcome.status == 3
    assert "99" in outcome.err
    assert asking.poll() is None


def test_state_of_a_newer_version_is_refused_naming_both_versions(house: House) -> None:
    house.echo()
    house.ok("ask", "hi")
    version = house.status()["version"]
    house.stop()
    path = house.place / "state" / "history.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.execute("UPDATE written_by SET version = '9.9.9'")
        connection.commit()
    outcome = house.run("ask", "hi")
    assert outcome.status == 3
    assert "9.9.9" in outcome.err
    assert version in outcome.err
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (99,), "an older version cannot use newer state"
        assert connection.execute("SELECT count(*) FROM requests").fetchone() == (1,)


# ---- logs and reports -----------------------------------------------------------------------------------------------


def test_the_log_contains_the_request_id_and_never_its_text(house: House) -> None:
    house.echo()
    house.ok("ask", "a secret sentence", "--json")
    identity = house.records()[0]["id"]
    until(lambda: identity in house.ok("daemon", "logs").out, what="its line, which is written after the answer")
    assert "secret" not in house.log.read_text()
    house.stop()
    *_, last = [json.loads(line) for line in house.log.read_text().splitlines()]
    assert last["event"] == "the hub has ended", "all of it is written when the lock is free"


def test_the_log_is_rotated(house: House) -> None:
    house.variables |= {"LLMCTL_LOGS__MAX_BYTES": "600", "LLMCTL_LOGS__FILES": "2", "LLMCTL_LOGS__LEVEL": "debug"}
    house.echo()
    for number in range(12):
        house.ok("ask", f"question {number}")
    house.stop()
    files = sorted(path.name for path in house.log.parent.glob("hub.log*"))
    assert files == ["hub.log", "hub.log.1", "hub.log.2"]
    assert all(path.stat().st_size <= 1200 for path in house.log.parent.glob("hub.log*"))


def test_doctor_lists_what_it_checked(house: House) -> None:
    outcome = house.ok("daemon", "doctor", timeout=4 * PATIENCE_S)
    for word in ("llmctl", "memory", str(house.place)):
        assert word in outcome.out.lower() or word in outcome.out, word


def test_doctor_gives_a_hint_for_a_folder_that_is_not_writable(house: House) -> None:
    house.place.mkdir()
    (house.place / "state").write_text("in the way")
    outcome = house.run("daemon", "doctor", timeout=4 * PATIENCE_S)
    assert outcome.status != 0
    assert str(house.place / "state") in outcome.out + outcome.err


def test_install_writes_a_unit_that_starts_this_hub(house: House) -> None:
    house.ok("daemon", "install")
    units = list((house.home / "user").rglob("*.service"))
    assert len(units) == 1
    text = units[0].read_text()
    assert "ExecStart=" in text
    assert sys.prefix in text or sys.executable in text


def test_ask_warns_that_the_configuration_changed_until_the_hub_is_restarted(house: House) -> None:
    house.echo()
    assert "daemon restart" not in house.ok("ask", "hi").err
    (house.place / "config.toml").write_text('[cache]\nmemory_bytes = "1M"\n')
    assert "llmctl daemon restart" in house.ok("ask", "hi").err
    assert "daemon restart" not in house.ok("ask", "hi", "-q").err
    house.ok("daemon", "restart")
    assert "daemon restart" not in house.ok("ask", "hi").err


def test_many_engines_leave_no_zombie_and_no_open_file(house: House) -> None:
    house.echo()
    hub = house.hub()
    house.ok("ask", "warm up")
    house.ok("models", "unload", "echo")
    until(lambda: not house.engines())
    before = hub.num_fds()
    for _ in range(5):
        house.ok("models", "load", "echo")
        house.ok("models", "unload", "echo")
    until(lambda: not house.engines())
    until(lambda: not hub.children(), what="no zombie either")
    until(lambda: hub.num_fds() <= before + 2, what="no open file more than before")
    assert alive(hub)
