"""Starting, finding, replacing and stopping the hub: with a fake hub as the old one, and failing starters."""

import os
import signal
import stat
import sys
from pathlib import Path

import pytest

from llmctl import __version__, errors, launch, wire
from llmctl.config import Cache, Config
from llmctl.paths import Paths
from llmctl.presence import listener
from tests.client.conftest import Heard, MakeFake
from tests.e2e.house import PATIENCE_S, House


def test_nothing_runs_in_an_empty_home(paths: Paths) -> None:
    assert launch.running(paths) is None
    assert not paths.run.exists(), "looking creates no folder"


def test_a_stale_socket_counts_as_no_hub(fake: MakeFake, paths: Paths) -> None:
    hub = fake()
    assert listener(paths.socket) in (hub.process.pid, 0)
    hub.process.send_signal(signal.SIGKILL)
    hub.process.wait()
    assert paths.socket.exists()
    assert launch.running(paths) is None


def test_a_hub_without_hub_json_is_asked_for_its_description(fake: MakeFake, paths: Paths) -> None:
    hub = fake()
    paths.hub_info.unlink()
    found = launch.running(paths)
    assert found is not None
    assert (found.pid, found.version) == (hub.process.pid, __version__)


def test_a_stale_hub_json_is_ignored(fake: MakeFake, paths: Paths) -> None:
    hub = fake()
    paths.hub_info.write_text('{"pid": 1, "version": "0", "protocol": 1, "socket": "s"}')
    found = launch.running(paths)
    assert found is not None
    assert found.pid == hub.process.pid


def test_a_running_hub_is_used(fake: MakeFake, paths: Paths, heard: Heard) -> None:
    hub = fake()
    assert launch.ensure(paths, Config(), heard.append).pid == hub.process.pid
    assert heard == []


def test_a_changed_configuration_is_reported(fake: MakeFake, paths: Paths, heard: Heard) -> None:
    fake()
    launch.ensure(paths, Config(cache=Cache(enabled=False)), heard.append)
    assert "llmctl daemon restart" in heard[0]


def test_a_busy_hub_of_the_old_version_is_used_with_a_notice(fake: MakeFake, paths: Paths, heard: Heard) -> None:
    hub = fake("old-busy")
    assert launch.ensure(paths, Config(), heard.append).pid == hub.process.pid
    for word in ("0.0.1", str(hub.process.pid), "2 requests", "llmctl daemon restart"):
        assert word in heard[0]


def test_a_busy_hub_of_another_protocol_is_refused(fake: MakeFake, paths: Paths, heard: Heard) -> None:
    fake("foreign-busy")
    with pytest.raises(errors.Unreachable, match="protocol 99") as caught:
        launch.ensure(paths, Config(), heard.append)
    assert "llmctl daemon restart" in caught.value.hint


@pytest.mark.parametrize("scenario", ["old-idle", "foreign-idle"])
def test_an_idle_hub_of_the_old_version_is_replaced(
    fake: MakeFake, paths: Paths, heard: Heard, scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = fake(scenario)
    monkeypatch.setattr(launch, "start", lambda paths: fake() and launch.running(paths))
    found = launch.ensure(paths, Config(), heard.append)
    assert (found.version, found.protocol) == (__version__, wire.PROTOCOL)
    assert found.pid != old.process.pid
    assert old.process.wait(PATIENCE_S) == 0, "it was asked to stop, not killed"
    assert "0.0.1" in heard[0]


def test_stop_waits_for_the_end_and_lists_the_cancelled_requests(fake: MakeFake, paths: Paths, heard: Heard) -> None:
    hub = fake()
    assert launch.stop(paths, hub.process.pid, 1.0, heard.append) == []
    assert hub.process.wait(PATIENCE_S) == 0
    assert launch.wait_gone(paths, PATIENCE_S)


def short_of_patience(heard: Heard, word: str, monkeypatch: pytest.MonkeyPatch) -> launch.Notify:
    """Waits that must time out are short; those after the notice with `word` succeed and may take longer."""
    monkeypatch.setattr(launch, "GRACE_S", 0.2)

    def hear(notice: str) -> None:
        heard.append(notice)
        if word in notice:
            monkeypatch.setattr(launch, "GRACE_S", PATIENCE_S)

    return hear


def test_a_hub_that_ignores_stop_gets_sigterm(
    fake: MakeFake, paths: Paths, heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = fake("stubborn")
    launch.stop(paths, hub.process.pid, 0.0, short_of_patience(heard, "SIGTERM", monkeypatch))
    assert hub.process.wait(PATIENCE_S) == -signal.SIGTERM
    assert any("SIGTERM" in words for words in heard)


def test_a_frozen_hub_is_killed(fake: MakeFake, paths: Paths, heard: Heard, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = fake("stubborn")
    os.kill(hub.process.pid, signal.SIGSTOP)
    launch.stop(paths, hub.process.pid, 0.0, short_of_patience(heard, "SIGKILL", monkeypatch))
    assert hub.process.wait(PATIENCE_S) == -signal.SIGKILL
    assert any("SIGKILL" in words for words in heard)


# ---- starters that fail ---------------------------------------------------------------------------------------------


@pytest.fixture
def starter(house: House, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A script instead of Python; called as `starter ... llmctld --ready-fd N`."""
    script = house.home / "starter"
    monkeypatch.setattr(sys, "executable", str(script))
    return script


def write(script: Path, body: str) -> None:
    script.write_text(f"#!/bin/bash\n{body}\n")
    script.chmod(0o700)


def test_a_hub_that_fails_to_start_is_reported_with_its_reason(starter: Path, paths: Paths) -> None:
    write(starter, """echo '{"error":{"code":"config","message":"cache.ttll: no","hint":"look"}}' >&"${!#}"; exit 2""")
    with pytest.raises(errors.ConfigError, match=r"cache\.ttll: no") as caught:
        launch.start(paths)
    assert caught.value.hint == "look"


def test_the_last_output_of_a_hub_that_died_is_reported(starter: Path, paths: Paths) -> None:
    paths.logs.mkdir(parents=True)
    (paths.logs / "hub.err").write_text("words of another day\n")
    write(starter, "echo nothing works >&2; exit 1")
    with pytest.raises(errors.Unreachable, match="nothing works") as caught:
        launch.start(paths)
    assert "another day" not in caught.value.message
    assert stat.S_IMODE((paths.logs).stat().st_mode) == 0o700


def test_a_hub_that_never_becomes_ready_is_an_error(
    starter: Path, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "READY_S", 0.3)
    write(starter, "exec sleep 3")
    with pytest.raises(errors.Unreachable, match="is not ready 0 s after its start"):
        launch.start(paths)
    os.kill(launch._started[-1], signal.SIGKILL)
    os.waitpid(launch._started.pop(), 0)


def test_started_processes_are_reaped(starter: Path, paths: Paths) -> None:
    write(starter, "exit 1")
    for _ in range(3):
        with pytest.raises(errors.Unreachable):
            launch.start(paths)
    launch._started.append(os.spawnlp(os.P_NOWAIT, "true", "true"))
    os.waitid(os.P_PID, launch._started[-1], os.WEXITED | os.WNOWAIT)
    launch._reap()
    assert len(launch._started) <= 1


def test_a_missing_interpreter_is_an_error(starter: Path, paths: Paths) -> None:
    with pytest.raises(errors.Unreachable, match="cannot start the hub"):
        launch.start(paths)


def test_the_starter_keeps_no_open_file_of_its_caller(starter: Path, paths: Paths, house: House) -> None:
    open_files = house.home / "open"
    write(starter, f"ls -l /proc/self/fd >{open_files}; pwd >>{open_files}; ps -o sid= $$ >>{open_files}; exit 1")
    with pytest.raises(errors.Unreachable):
        launch.start(paths)
    text = open_files.read_text()
    assert "0 -> /dev/null" in text
    assert "start.lock" not in text, "the lock is not inherited"
    assert "\n/\n" in text
