"""An engine as its hub sees it: a child process on a socket that talks in frames and never outlives its hub."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from llmctld.engine.core.loop import SHOW_S
from llmctld.engine.messages import (
    LENGTH,
    ChatMessage,
    Command,
    Drop,
    Event,
    Finished,
    Load,
    Loaded,
    LoadFailed,
    Piece,
    Report,
    Step,
    Submit,
    decode_report,
    frame,
)
from llmctld.engine.serve import _frames

from tests.engine.driver import Reply, echo, llama

WAIT_S = 120.0


class Child:
    """An engine process and our end of its socket."""

    def __init__(self) -> None:
        self.socket, theirs = socket.socketpair()
        self.socket.settimeout(WAIT_S)
        command = [sys.executable, "-m", "llmctld.engine", str(theirs.fileno())]
        self.process = subprocess.Popen(
            command,
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        theirs.close()
        self._stream = self.socket.makefile("rb")

    def say(self, *commands: Command) -> None:
        self.socket.sendall(b"".join(map(frame, commands)))

    def hear(self) -> Report | None:
        """The next frame; None at the end of the stream."""
        head = self._stream.read(LENGTH.size)
        return decode_report(self._stream.read(LENGTH.unpack(head)[0])) if head else None

    def step(self) -> Step:
        report = self.hear()
        assert isinstance(report, Step), report
        return report

    def until_end(self, *ids: int) -> dict[int, Reply]:
        replies = {id: Reply() for id in ids}
        while any(reply.ends == 0 for reply in replies.values()):
            for event in self.step().events:
                replies[event.id].take(event)
        return replies

    def hang_up(self) -> None:
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self._stream.close()
        self.socket.close()

    def ended(self) -> tuple[int, str, str]:
        """(status, stdout, stderr) once the process is gone."""
        out, err = self.process.communicate(timeout=WAIT_S)
        return self.process.returncode, out.decode(), err.decode()


@pytest.fixture
def child() -> Iterator[Child]:
    child = Child()
    yield child
    child.hang_up()
    with suppress(ProcessLookupError):
        child.process.kill()
    child.process.communicate()


def ask(id: int, text: str, max_tokens: int = 99) -> Submit:
    return Submit(id=id, messages=[ChatMessage("user", text)], max_tokens=max_tokens, temperature=0.0)


def test_model_answers_over_the_socket_and_exits_when_it_closes(child: Child, files: Path) -> None:
    child.say(llama(files / "chat.gguf"), ask(1, "hi", 20), ask(2, "why?", 20))
    loaded = child.hear()
    assert isinstance(loaded, Loaded)
    assert (loaded.backend, loaded.context, loaded.slots, loaded.base) == ("llama.cpp", 512, 4, False)
    assert loaded.memory_bytes > (files / "chat.gguf").stat().st_size // 2
    replies = child.until_end(1, 2)
    assert replies[1].done.completion_tokens == 20
    assert replies[1].text
    assert replies[1].text != replies[2].text
    child.hang_up()
    assert child.ended()[:2] == (0, "")


def test_cancel_is_answered_immediately(child: Child) -> None:
    child.say(echo(token_ms=1000), ask(1, "x" * 999, 999))
    child.hear()
    while not any(isinstance(event, Piece) for event in child.step().events):
        pass
    child.say(Drop(1))
    events: list[Event] = []
    while not any(isinstance(event, Finished) for event in events):
        events += child.step().events
    assert isinstance(events[-1], Finished)
    assert events[-1].reason == "cancelled"
    assert 1 <= events[-1].completion_tokens < 999, "the whole answer would take a quarter of an hour"


def test_a_refused_request_leaves_the_engine_running(child: Child) -> None:
    child.say(echo(context=11), ask(1, "far too long"), ask(2, "short"))
    child.hear()
    replies = child.until_end(1, 2)
    assert replies[1].refusal.code == "context_overflow"
    assert replies[2].text == "short"


@pytest.mark.parametrize("backend", ["llama.cpp", "quantum"])
def test_load_error_is_reported_and_ends_the_process(child: Child, backend: str, tmp_path: Path) -> None:
    child.say(Load(name="gone", backend=backend, path=str(tmp_path / "gone.gguf"), threads=1, memory_bytes=2**30))
    failed = child.hear()
    assert isinstance(failed, LoadFailed)
    assert "gone" in failed.message
    assert child.hear() is None
    assert child.ended()[0] == 1


def test_closed_socket_ends_the_engine_during_work(child: Child) -> None:
    child.say(echo(first_ms=600_000), ask(1, "x"))
    child.hear()
    assert child.step().busy == 1
    child.hang_up()
    assert child.ended() == (0, "", "")


def test_configured_crash_happens_at_the_third_token(child: Child) -> None:
    child.say(echo(fail="crash", token_ms=1.5e3 * SHOW_S), ask(1, "abcdef"))  # slow enough that each token is a piece
    child.hear()
    texts = []
    with suppress(ConnectionError):
        while (report := child.hear()) is not None:
            assert isinstance(report, Step)
            texts += [event.text for event in report.events if isinstance(event, Piece)]
    assert texts == ["a", "b"]
    assert child.ended()[0] == 134


def test_invalid_frame_ends_the_engine_with_a_traceback(child: Child) -> None:
    child.say(echo())
    child.hear()
    child.socket.sendall(LENGTH.pack(3) + b"\xc1\xc1\xc1")
    status, out, err = child.ended()
    assert (status, out) == (1, "")
    assert "Traceback" in err


def test_engine_ignores_terminal_signals(child: Child) -> None:
    child.say(echo())
    child.hear()
    child.process.send_signal(signal.SIGINT)
    child.process.send_signal(signal.SIGHUP)
    child.say(ask(1, "still here"))
    assert child.until_end(1)[1].text == "still here"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's words for it")
def test_oom_killer_prefers_the_engine_to_the_hub(child: Child) -> None:
    child.say(echo())
    child.hear()
    theirs = Path(f"/proc/{child.process.pid}/oom_score_adj").read_text()
    ours = Path("/proc/self/oom_score_adj").read_text()
    assert int(theirs) > int(ours)


HUB = """
import signal, socket, subprocess, sys
from llmctld.engine.messages import Load, frame
ours, theirs = socket.socketpair()
engine = subprocess.Popen([sys.executable, "-m", "llmctld.engine", str(theirs.fileno())], pass_fds=[theirs.fileno()])
holder = subprocess.Popen(["sleep", "600"], pass_fds=[ours.fileno()])
ours.sendall(frame(Load(name="e", backend="echo", path="", threads=1, memory_bytes=0)))
ours.recv(1)
print(engine.pid, holder.pid, flush=True)
signal.pause()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG")
def test_engine_ends_with_a_killed_hub_even_if_its_socket_stays_open() -> None:
    with subprocess.Popen([sys.executable, "-c", HUB], stdout=subprocess.PIPE) as hub:
        assert hub.stdout is not None
        engine, holder = (psutil.Process(int(pid)) for pid in hub.stdout.readline().split())
        os.kill(hub.pid, signal.SIGKILL)
        hub.wait(WAIT_S)
    try:
        assert ends(engine)
        assert holder.is_running()
    finally:
        holder.kill()


def ends(process: psutil.Process) -> bool:
    """Whether it ends in time: gone, or a zombie if no parent reaps it."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        with suppress(psutil.TimeoutExpired):
            process.wait(0.05)
            return True
        with suppress(psutil.NoSuchProcess):
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
    return False


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux tells how often a thread was woken")
def test_reader_thread_is_not_woken_when_the_hub_reads() -> None:
    ours, theirs = socket.socketpair()
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.extend(_frames(theirs)))
    reader.start()
    ours.sendall(LENGTH.pack(2) + b"hi" + LENGTH.pack(0))
    status = Path(f"/proc/self/task/{reader.native_id}/status")
    woken = 0
    for _ in range(100):
        theirs.sendall(b"a step")
        ours.recv(100)
        while "State:\tS" not in (text := status.read_text()):
            pass  # woken, and not asleep again yet
        woken = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("voluntary"))
    ours.close()
    reader.join(WAIT_S)
    theirs.close()
    assert heard == [b"hi", b""]
    assert woken < 50
