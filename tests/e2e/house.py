"""A home of its own for one test: the installed `llmctl` in an empty LLMCTL_HOME, what it said, and what runs.

It knows the command line, the files under LLMCTL_HOME and processes; nothing of llmctl's code.
"""

import itertools
import json
import os
import pty
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psutil

LLMCTL = Path(sys.executable).with_name("llmctl")
REPOSITORY = Path(__file__).resolve().parents[2]
KEPT = ("PATH", "LANG", "LC_ALL", "TMPDIR", "VIRTUAL_ENV", "SSL_CERT_FILE", "LLMCTL_ENGINE_STEP_MS")

PATIENCE_S = 300.0
"""A ceiling for what should happen, and no measurement: only a test that fails waits so long."""

T = TypeVar("T")


def until(look: Callable[[], T], timeout: float = PATIENCE_S, what: str = "") -> T:
    """The first true thing that `look` returns, for what has no event. Raises AssertionError after `timeout` s."""
    end = time.monotonic() + timeout
    for tries in itertools.count():
        found = look()
        if found:
            return found
        if time.monotonic() > end:
            break
        # many looks start a command, which takes the processor from what is awaited
        for _ in range(min(1 + tries // 5, 10)):
            time.sleep(0.02)
    raise AssertionError(f"not within {timeout} s: {what or look}")


class Outcome(NamedTuple):
    """What a command left behind."""

    status: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """stdout as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1]

    @property
    def pieces(self) -> str:
        """The deltas of --json, joined."""
        return "".join(line["delta"] for line in self.lines if "delta" in line)

    @property
    def error(self) -> dict[str, Any]:
        """The failure, with --json."""
        found: dict[str, Any] = json.loads(self.err.splitlines()[-1])["error"]
        return found


class Command(subprocess.Popen[str]):
    """A command that still runs."""

    begun: str = ""

    def end(self, timeout: float = PATIENCE_S) -> Outcome:
        out, err = self.communicate(timeout=timeout)
        return Outcome(self.returncode, self.begun + out, err)

    def interrupt(self) -> bool:
        """Sends SIGINT, once more each time that it is called; whether the command has ended."""
        self.send_signal(signal.SIGINT)
        return self.poll() is not None

    def first_byte(self) -> str:
        """Blocks until the command prints something; "" when it ends without."""
        assert self.stdout is not None
        self.begun += os.read(self.stdout.fileno(), 1).decode("ascii")
        return self.begun


class House:
    """LLMCTL_HOME in a short folder of its own."""

    def __init__(self, **variables: str) -> None:
        self.home = Path(tempfile.mkdtemp(prefix="lc", dir="/tmp"))  # the socket's path must stay short
        self.place = self.home / "home"  # made by llmctl itself
        self.variables = variables
        self._commands: list[Command] = []

    # ---- commands ---------------------------------------------------------------------------------------------------

    def environ(self, **more: str) -> dict[str, str]:
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        user = self.home / "user"
        user.mkdir(exist_ok=True)
        return kept | {"HOME": str(user), "LLMCTL_HOME": str(self.place)} | self.variables | more

    def run(
        self, *arguments: object, stdin: str | bytes | None = None, timeout: float = PATIENCE_S, **variables: str
    ) -> Outcome:
        """Runs `llmctl ARGUMENTS` to its end; without `stdin` it has none."""
        data = stdin.encode() if isinstance(stdin, str) else stdin
        done = subprocess.run(
            [str(LLMCTL), *map(str, arguments)],
            stdin=subprocess.DEVNULL if data is None else None,
            input=data,
            capture_output=True,
            env=self.environ(**variables),
            cwd=self.home,
            timeout=timeout,
            check=False,
        )
        return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())

    def ok(self, *arguments: object, **options: Any) -> Outcome:
        """`run`, and the status must be 0."""
        outcome = self.run(*arguments, **options)
        assert outcome.status == 0, outcome
        return outcome

    def in_terminal(self, *arguments: object, stdin: str | None = None, **variables: str) -> bytes:
        """Runs `llmctl ARGUMENTS` in a terminal; what the terminal shows. The status must be 0. `stdin` comes from a pipe."""
        leader, follower = pty.openpty()
        with subprocess.Popen(
            [str(LLMCTL), *map(str, arguments)],
            stdin=follower if stdin is None else subprocess.PIPE,
            stdout=follower,
            stderr=follower,
            cwd=self.home,
            env=self.environ(**{"TERM": "xterm"} | variables),
        ) as process:
            os.close(follower)
            if stdin is not None and process.stdin is not None:
                process.stdin.write(stdin.encode())
                process.stdin.close()
            seen = b""
            with suppress(OSError):  # raised once the last end of the terminal is closed
                while piece := os.read(leader, 65536):
                    seen += piece
            os.close(leader)
        assert process.returncode == 0, seen
        return seen

    def spawn(
        self, *arguments: object, stdin: int = subprocess.DEVNULL, variables: Mapping[str, str] | None = None
    ) -> Command:
        command = Command(
            [str(LLMCTL), *map(str, arguments)],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environ(**(variables or {})),
            cwd=self.home,
        )
        self._commands.append(command)
        return command

    def python(self, script: str) -> Command:
        """A Python program that uses the package, with the environment of this home."""
        command = Command(
            [sys.executable, "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            text=True, env=self.environ(), cwd=self.home,
        )  # fmt: skip
        self._commands.append(command)
        return command

    def shell(self, script: str, timeout: float = PATIENCE_S, **variables: str) -> Outcome:
        """A line of shell in which `llmctl` is the installed one."""
        env = self.environ(**variables)
        env["PATH"] = f"{LLMCTL.parent}{os.pathsep}{env['PATH']}"
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", script],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=env,
            cwd=self.home,
            timeout=timeout,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    def echo(self, name: str = "echo", **settings: object) -> "House":
        """Adds an echo model."""
        self.ok("models", "add", name, "echo", *(f"--set={key}={value}" for key, value in settings.items()))
        return self

    # ---- what runs behind them --------------------------------------------------------------------------------------

    @property
    def hub_file(self) -> Path:
        return self.place / "run" / "hub.json"

    @property
    def socket(self) -> Path:
        return self.place / "run" / "hub.sock"

    @property
    def log(self) -> Path:
        return self.place / "state" / "logs" / "hub.log"

    def hub(self) -> psutil.Process:
        """The process of the running hub."""
        return psutil.Process(json.loads(self.hub_file.read_text())["pid"])

    def hub_runs(self) -> bool:
        try:
            return alive(self.hub())
        except (OSError, ValueError, KeyError, psutil.NoSuchProcess):
            return False

    def engines(self) -> list[psutil.Process]:
        return [child for child in self.hub().children(recursive=True) if alive(child)]

    def daemons(self) -> list[psutil.Process]:
        """Every hub and engine of this home that is alive, whoever its parent is."""
        found = []
        for process in psutil.process_iter():
            try:
                ours = process.environ().get("LLMCTL_HOME") == str(self.place) and "llmctld" in " ".join(
                    process.cmdline()
                )
            except (psutil.Error, OSError):
                continue
            if ours and alive(process):
                found.append(process)
        return found

    def ended(self) -> bool:
        """Whether hub and engines are gone; an interpreter that ends takes a moment."""
        return until(lambda: not self.daemons(), what="the end of all daemons")

    def ps(self, name: str) -> dict[str, Any]:
        """The line of `ps --json` for one model, {} when it is not there."""
        return next((line for line in self.ok("ps", "--json").lines if line["name"] == name), {})

    def busy(self, name: str) -> int:
        return int(self.ps(name).get("busy", -1))

    def status(self) -> dict[str, Any]:
        return self.run("daemon", "status", "--json").last

    def stop(self) -> None:
        self.ok("daemon", "stop", "--timeout", "1s")

    @contextmanager
    def held(self, name: str = "echo") -> Iterator[None]:
        """The model is loaded, and its engine stands still: what is asked in the block has no end before the block has."""
        self.ok("models", "load", name)
        engine = psutil.Process(self.ps(name)["pid"])
        engine.suspend()
        try:
            yield
        finally:
            with suppress(psutil.NoSuchProcess):
                engine.resume()

    @contextmanager
    def still(self) -> Iterator[None]:
        """The hub stands still: it writes nothing between the first and the last file that the block removes."""
        hub = self.hub()
        hub.suspend()
        try:
            until(lambda: hub.status() == psutil.STATUS_STOPPED, what="the hub to stand still")
            yield
        finally:
            hub.resume()

    def records(self, columns: str = "id, state, user, tags, model, hit", where: str = "1") -> list[dict[str, Any]]:
        """The rows of the history, oldest first; [] while there is none."""
        path = self.place / "state" / "history.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path, timeout=5)) as connection:
            connection.row_factory = sqlite3.Row
            rows = connection.execute(f"SELECT {columns} FROM requests WHERE {where} ORDER BY number")
            return [dict(row) for row in rows]

    def running(self) -> int:
        return len(self.records(where="state = 'running'"))

    def close(self) -> None:
        """Ends what still runs, and removes the folder."""
        for command in self._commands:
            if command.poll() is None:
                command.kill()
            command.wait()
            for stream in (command.stdin, command.stdout, command.stderr):
                if stream:
                    stream.close()
        daemons = self.daemons()
        for process in daemons:
            with_signal(process, signal.SIGKILL)
        psutil.wait_procs(daemons, timeout=PATIENCE_S)
        shutil.rmtree(self.home, ignore_errors=True)


def alive(process: psutil.Process) -> bool:
    """Not ended, and no zombie."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def gone(processes: Sequence[psutil.Process]) -> bool:
    """Whether all of them end; returns as soon as they have."""
    return bool(until(lambda: not any(alive(process) for process in processes), what=f"the end of {processes}"))


def with_signal(process: psutil.Process, number: int) -> None:
    """Sends a signal to a process that may have ended meanwhile."""
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


def wait_for_the_hub(house: House) -> None:
    """From now on an interrupted command waits ten minutes for the hub's last word, which is longer than any test."""
    (house.home / "sitecustomize.py").write_text("import llmctl.cli.asking.answer as a\na.CANCEL_S = 600.0\n")
    house.variables["PYTHONPATH"] = str(house.home)


@contextmanager
def house(**variables: str) -> Iterator[House]:
    """A house that is left empty."""
    made = House(**variables)
    try:
        yield made
    finally:
        made.close()
