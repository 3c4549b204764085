"""Starting and stopping the hub: waits until it is ready, replaces one of another version, and never sleeps to do so.

It knows the hub as a process, a socket and two lock files, not what it answers.
"""

import contextlib
import fcntl
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from llmctl import __version__, wire
from llmctl.config import Config
from llmctl.errors import Unreachable, counted, from_code
from llmctl.files import open_own
from llmctl.interpreter import ChildError, module
from llmctl.link import Link, call
from llmctl.paths import Paths, check_way, make_private, make_reachable
from llmctl.presence import must_be_own, peer
from llmctl.regular import read_json

READY_S = 60.0
STATUS_S = 15.0
GRACE_S = 20.0
"""How long after its timeout a stopping hub is waited for before it is killed."""

Notify = Callable[[str], None]

_started: list[int] = []
"""Pids of the hubs that this process started; ended ones are reaped when the next one starts."""


class _Ready(msgspec.Struct):
    """The line that a hub writes to the process that started it."""

    pid: int = 0
    error: ChildError | None = None


def listening_at(paths: Paths) -> int | None:
    """The pid of the process that listens on the socket (0: unknown), or None.

    Raises Unreachable if that process or a folder on the way to the socket belongs to another user.
    """
    check_way(paths.run)
    if not paths.run.exists():
        return None
    make_reachable(paths)
    found = peer(paths.socket)
    if found is None:
        return None
    must_be_own(found, paths.socket)
    return found.pid


def running(paths: Paths) -> wire.HubInfo | None:
    """The running hub, or None. Starts nothing."""
    pid = listening_at(paths)
    if pid is None:
        return None
    info = _read_info(paths)
    if info is not None and pid in (0, info.pid):
        return info
    return _ask_info(paths, pid)  # it listens, but has not written its file yet


def listening(paths: Paths) -> int | None:
    """The pid of the process that listens on the socket, whether it answers or not, or None."""
    pid = listening_at(paths)
    if pid == 0:
        info = _read_info(paths)
        return info.pid if info else 0
    return pid


def _read_info(paths: Paths) -> wire.HubInfo | None:
    try:
        return read_json(paths.hub_info, wire.HubInfo)
    except (OSError, ValueError):
        return None


def _ask_info(paths: Paths, pid: int) -> wire.HubInfo:
    status = ask_status(paths, pid)
    return wire.HubInfo(
        pid=status.pid, version=status.version, protocol=status.protocol, socket=status.socket, fingerprint=0
    )


def ask_status(paths: Paths, pid: int, patience: float = STATUS_S) -> wire.HubStatus:
    """The status of the hub; every protocol version answers this request."""
    reply = _tell(paths, pid, wire.Status(), patience)
    if isinstance(reply, wire.Done) and isinstance(reply.result, wire.HubStatus):
        return reply.result
    if isinstance(reply, wire.Failed):
        raise from_code(reply.code, reply.message, reply.hint)
    raise Unreachable(f"the hub (pid {pid}) answered the status request with {type(reply).__name__}")


def _tell(paths: Paths, pid: int, request: wire.Request, patience: float) -> wire.AnyReply:
    link = Link(paths.socket, pid)
    try:
        return call(link, request, patience)
    finally:
        link.close()


def ensure(paths: Paths, config: Config, notify: Notify) -> wire.HubInfo:
    """The hub: started if none is running, restarted if it is idle and of another version."""
    info = running(paths)
    if info is None:
        info = start(paths)
    elif info.version != __version__ or info.protocol != wire.PROTOCOL:
        info = _other_version(paths, info, notify)
    if info.fingerprint and info.fingerprint != config.fingerprint():
        notify(
            f"the running hub (pid {info.pid}) started with another configuration; "
            "`llmctl daemon restart` applies the current one"
        )
    return info


def _other_version(paths: Paths, info: wire.HubInfo, notify: Notify) -> wire.HubInfo:
    status = ask_status(paths, info.pid)
    words = (
        f"the running hub (pid {info.pid}) has version {info.version} and protocol {info.protocol}, "
        f"this is version {__version__} with protocol {wire.PROTOCOL}"
    )
    if status.requests_in_flight == 0:
        notify(f"{words}; it is idle and is being restarted")
        stop(paths, info.pid, 0.0, notify)
        return start(paths)
    words += f"; it is running {counted(status.requests_in_flight, 'request')}"
    if info.protocol != wire.PROTOCOL:
        raise Unreachable(words, "`llmctl daemon restart` cancels them and starts the new version.")
    notify(f"{words}; `llmctl daemon restart` cancels them and starts the new version")
    return info


# ---- starting -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[None]:
    with _open_lock(file) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _open_lock(file: Path) -> Iterator[int]:
    try:
        handle = open_own(file, os.O_RDWR)
    except OSError as error:
        raise Unreachable(f"cannot open {file}: {error.strerror}") from error
    try:
        yield handle
    finally:
        os.close(handle)


def start(paths: Paths) -> wire.HubInfo:
    """Starts a hub and returns once it is ready. If several processes try at once, one starts it and the others wait."""
    check_way(paths.run.parent)
    make_private(paths.run)
    make_reachable(paths)
    make_private(paths.logs)
    with _locked(paths.start_lock):
        found = running(paths)
        if found is not None:
            return found
        pid = _spawn(paths)
        info = _read_info(paths)
    if info is None or info.pid != pid:
        raise Unreachable(f"the hub (pid {pid}) reported that it is ready, but {paths.hub_info} does not name it")
    return info


def _spawn(paths: Paths) -> int:
    import subprocess  # 5 ms, and rarely needed

    _reap()
    reader, writer = os.pipe()
    errors = paths.logs / "hub.err"
    try:
        log = open_own(errors, os.O_WRONLY | os.O_APPEND)
        try:
            offset = os.fstat(log).st_size
            hub = subprocess.Popen(
                module("llmctld", "--ready-fd", str(writer)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=_environment(paths),
                start_new_session=True,
                pass_fds=(writer,),
            )
        finally:
            os.close(log)
            os.close(writer)
        hub.returncode = 0  # it outlives this process: Popen must neither wait nor warn
        _started.append(hub.pid)
        line = _read_line(reader)
    except OSError as error:
        raise Unreachable(f"cannot start the hub: {error}") from error
    finally:
        os.close(reader)
    return _judge(line, hub.pid, errors, offset)


def _environment(paths: Paths) -> dict[str, str]:
    """The environment with full paths, since the hub runs in another folder."""
    environment = dict(os.environ)
    if paths.home is not None:
        environment["LLMCTL_HOME"] = str(paths.home)
    if environment.get("LLMCTL_CONFIG"):
        environment["LLMCTL_CONFIG"] = str(paths.config_file)
    return environment


def _reap() -> None:
    for pid in tuple(_started):
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                continue
        _started.remove(pid)


def _read_line(reader: int) -> bytes | None:
    """The line from the hub; b"" if it ended without one, None if it took too long."""
    import select

    until = time.monotonic() + READY_S
    line = b""
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([reader], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return None
        piece = os.read(reader, 65536)
        if not piece:
            break
        line += piece
    return line


def _judge(line: bytes | None, pid: int, errors: Path, offset: int) -> int:
    if line is None:
        raise Unreachable(f"the hub (pid {pid}) is not ready {READY_S:.0f} s after its start")
    try:
        ready = msgspec.json.decode(line, type=_Ready)
    except msgspec.DecodeError as error:
        tail = _tail(errors, offset)
        raise Unreachable(f"the hub ended before it was ready{': ' if tail else ''}{tail}") from error
    if ready.error is not None:
        raise ready.error.error()
    return ready.pid


def _tail(file: Path, offset: int, lines: int = 3) -> str:
    with contextlib.suppress(OSError), file.open("rb") as text:
        text.seek(offset)
        kept = text.read().decode(errors="replace").strip().splitlines()[-lines:]
        return " | ".join(line.strip() for line in kept)
    return ""


# ---- stopping -------------------------------------------------------------------------------------------------------


def wait_gone(paths: Paths, seconds: float) -> bool:
    """Whether the hub releases its lock, the last thing it does, within `seconds`."""
    if not paths.lock.exists():
        return True
    gone = threading.Event()

    def wait() -> None:
        with contextlib.suppress(Unreachable), _locked(paths.lock):
            gone.set()

    threading.Thread(target=wait, daemon=True).start()
    return gone.wait(seconds) or gone.is_set()


def stop(paths: Paths, pid: int, timeout: float, notify: Notify) -> list[str]:
    """Stops the hub and waits for its end; kills it if it does not stop. Returns the names of the requests it cancelled."""
    try:
        reply = _tell(paths, pid, wire.Stop(timeout=timeout), timeout + GRACE_S)
    except Unreachable as error:
        if listening_at(paths) is None and wait_gone(paths, GRACE_S):
            return []
        notify(error.message)
        _kill(paths, pid, notify)
        return []
    if isinstance(reply, wire.Failed):
        notify(f"the hub (pid {pid}) refuses to stop: {reply.message}")
    if not wait_gone(paths, GRACE_S):
        _kill(paths, pid, notify)
    if isinstance(reply, wire.Done) and isinstance(reply.result, wire.Stopped):
        return reply.result.cancelled
    return []


def _kill(paths: Paths, pid: int, notify: Notify) -> None:
    info = _read_info(paths)
    if pid <= 0 or (listening_at(paths) != pid and (info is None or info.pid != pid)):
        raise Unreachable(f"{paths.lock} is still locked, by an unknown process")
    for name, number in (("SIGTERM", signal.SIGTERM), ("SIGKILL", signal.SIGKILL)):
        notify(f"the hub (pid {pid}) does not stop; sending {name}")
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        if wait_gone(paths, GRACE_S):
            return
    raise Unreachable(f"the hub (pid {pid}) cannot be stopped")
