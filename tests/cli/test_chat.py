"""`llmctl chat` through a pipe and in a terminal."""

import os
import pty
import re
import select
import subprocess
import time

import psutil

from tests.client.conftest import MakeFake
from tests.e2e.house import LLMCTL, PATIENCE_S, House


def test_each_line_or_quoted_block_is_a_message(house: House, fake: MakeFake) -> None:
    hub = fake()
    outcome = house.run("chat", "-q", "-s", "brief", stdin='one\n\n"""\ntwo\nthree\n"""\n')
    assert (outcome.status, outcome.out) == (0, "one\ntwo\nthree\n")
    assert [request["prompt"] for request in hub.seen] == ["one", "two\nthree"]
    assert hub.asked["system"] == "brief"


def test_commands(house: House, fake: MakeFake) -> None:
    hub = fake()
    lines = ["one", "/model thinks", "/system brief", "/retry", "/undo", "/save kept", "/help", "/exit", "never"]
    outcome = house.run("chat", "--conversation", "talk", stdin="\n".join(lines))
    assert (outcome.status, outcome.out) == (0, "one\nwhat was asked\n")
    assert [request["type"] for request in hub.seen] == ["generate", "undo", "generate", "undo"]
    again = hub.seen[2]
    assert (again["model"], again["system"], again["conversation"], again["cache"]) == (
        "thinks", "brief", "talk", "refresh",
    )  # fmt: skip
    assert "/retry" in outcome.err
    assert "what was asked" in outcome.err
    assert house.ok("templates", "show", "kept", "--json").last["system"] == "brief"


def test_after_a_failed_message_the_next_is_answered(house: House, fake: MakeFake) -> None:
    fake()
    outcome = house.run("chat", stdin="/model fails-busy\none\n/model m\ntwo\n/nonsense\n")
    assert (outcome.status, outcome.out) == (10, "one\ntwo\n")
    assert "failed with busy" in outcome.err
    assert "/nonsense" in outcome.err


class Terminal:
    """A command at the other end of a terminal."""

    def __init__(self, house: House, *arguments: str) -> None:
        self.leader, follower = pty.openpty()
        self.process = subprocess.Popen(
            [str(LLMCTL), *arguments], stdin=follower, stdout=follower, stderr=follower, cwd=house.home,
            env=house.environ(TERM="dumb"), start_new_session=True, preexec_fn=lambda: take_terminal(follower),
        )  # fmt: skip
        os.close(follower)

    def type(self, text: str) -> None:
        os.write(self.leader, text.encode())

    def until(self, pattern: bytes, seconds: float = PATIENCE_S) -> bytes:
        seen, end = b"", time.monotonic() + seconds
        while not re.search(pattern, seen):
            left = end - time.monotonic()
            if left <= 0:
                self.process.kill()
                self.process.wait()
                raise AssertionError(seen)
            if select.select([self.leader], [], [], left)[0]:
                seen += os.read(self.leader, 4096)
        return seen

    def rests(self) -> None:
        """Until it waits for a key: CPython notices a signal in readline only while it waits."""
        process, end = psutil.Process(self.process.pid), time.monotonic() + PATIENCE_S
        while process.status() != psutil.STATUS_SLEEPING and time.monotonic() < end:
            time.sleep(0.005)

    def end(self) -> int:
        status = self.process.wait(PATIENCE_S)
        os.close(self.leader)
        return status


def take_terminal(follower: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(follower, termios.TIOCSCTTY, 0)


def test_ctrl_c_stops_the_answer_and_ctrl_d_quits(house: House, fake: MakeFake) -> None:
    hub = fake()
    terminal = Terminal(house, "chat", "-m", "slow")
    terminal.until(b"> $")
    terminal.type("what came\r")
    terminal.until(rb"\nwhat came")
    terminal.type("\x03")
    terminal.until(b"> $")
    assert hub.kinds() == ["generate", "cancel"]
    terminal.type("/model m\r")
    terminal.until(b"> $")
    terminal.type("and on\r")
    terminal.until(rb"(?s)\nand on\r\n.*> $")
    terminal.type("half a line")
    terminal.until(b"half a line")
    terminal.rests()
    terminal.type("\x03")
    terminal.until(b"> $")
    terminal.type("\x04")
    assert terminal.end() == 0
