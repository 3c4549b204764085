"""What is read from stdin, what is not, and what is said about it."""

import json
import os
import socket
import subprocess

import pytest

from tests.client.conftest import Fake, MakeFake
from tests.e2e.house import PATIENCE_S, House


@pytest.fixture
def hub(fake: MakeFake) -> Fake:
    return fake()


def test_a_slow_producer_loses_nothing(house: House, hub: Fake) -> None:
    asking = house.spawn("ask", "p", "--no-stream", stdin=subprocess.PIPE)
    assert asking.stdin is not None
    assert asking.stderr is not None
    asking.stdin.write("a")
    asking.stdin.flush()
    assert "--no-stdin" in asking.stderr.readline(), "after a moment of silence it says what it waits for"
    asking.stdin.write("b")
    outcome = asking.end()
    assert (outcome.status, hub.asked["stdin"]) == (0, "ab")


def test_the_waiting_notice_in_json_and_with_quiet(house: House, hub: Fake) -> None:
    loud = house.spawn("ask", "p", "--json", stdin=subprocess.PIPE)
    quiet = house.spawn("ask", "p", "-q", stdin=subprocess.PIPE)
    assert loud.stderr is not None
    assert "stdin" in json.loads(loud.stderr.readline())["notice"]
    assert quiet.end().err == ""
    assert loud.end().status == 0


@pytest.mark.parametrize("script", [
    "llmctl ask p --no-stdin <&3", "LLMCTL_NO_STDIN=1 llmctl ask p <&3", "llmctl ask p </dev/null",
    "llmctl ask p <&-", ": | llmctl ask p",
])  # fmt: skip
def test_no_stdin(house: House, hub: Fake, script: str) -> None:
    outcome = house.shell(f"mkfifo silent; exec 3<>silent; {script}")
    assert outcome.out == "p\n"
    assert "stdin" not in hub.asked


def test_an_empty_stdin_replaces_its_placeholder(house: House, hub: Fake) -> None:
    house.ok("ask", "p {stdin}", stdin="")
    assert hub.asked["stdin"] == ""


def test_a_socket_is_read(house: House, hub: Fake) -> None:
    ours, theirs = socket.socketpair()
    asking = house.spawn("ask", stdin=theirs.fileno())
    theirs.close()
    ours.sendall(b"through a socket")
    ours.close()
    assert asking.end().out == "through a socket\n"


def test_a_file_is_read_to_its_end(house: House, hub: Fake) -> None:
    (house.home / "f").write_text("x" * 300_000)
    assert len(house.shell("llmctl ask --no-stream -q <f").out) == 300_001


def test_a_partly_read_stdin_gets_a_notice(house: House, hub: Fake) -> None:
    (house.home / "f").write_text("one\ntwo\nthree\n")
    outcome = house.shell('while read -r l; do llmctl ask "$l" --no-stream; done <f')
    assert outcome.out == "one\n\ntwo\nthree\n"
    assert "10 bytes" in outcome.err
    assert "--no-stdin" in outcome.err
    outcome = house.shell('while read -r l; do llmctl ask "$l" --no-stream --no-stdin; done <f')
    assert outcome.out == "one\ntwo\nthree\n"


@pytest.mark.parametrize(("data", "where"), [(b"ok\xff", "byte 0xff at offset 2"), (b"a\0", "byte 0x00 at offset 1")])
def test_bytes_that_are_not_text(house: House, hub: Fake, data: bytes, where: str) -> None:
    outcome = house.run("ask", "p", stdin=data)
    assert (outcome.status, outcome.out) == (5, "")
    assert where in outcome.err


def test_a_terminal_is_not_read(house: House, hub: Fake) -> None:
    leader, follower = os.openpty()
    asking = house.spawn("ask", "p", stdin=follower)
    assert asking.end().out == "p\n"
    os.close(leader)
    os.close(follower)


def test_ctrl_c_while_waiting_for_stdin(house: House, hub: Fake) -> None:
    asking = house.spawn("ask", "p", stdin=subprocess.PIPE)
    assert asking.stderr is not None
    asking.stderr.readline()
    asking.send_signal(2)
    assert asking.wait(PATIENCE_S) == 130
    assert not hub.kinds()
