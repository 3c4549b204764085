"""Many connections at a low limit of open files: the hub lives, answers while it can, and says so when it cannot."""

import resource
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from tests.e2e.house import LLMCTL, PATIENCE_S, House, until
from tests.e2e.test_bad_input import refused
from tests.stress.scale import count


def start(house: House, soft: int, hard: int | None = None) -> None:
    def limit() -> None:
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, most if hard is None else hard))

    line = [str(LLMCTL), "daemon", "start", "-q"]
    subprocess.run(
        line, env=house.environ(), preexec_fn=limit, check=True, stdin=subprocess.DEVNULL, timeout=PATIENCE_S
    )


@contextmanager
def held(house: House, number: int) -> Iterator[None]:
    """Connections that never say a word."""
    connections: list[socket.socket] = []
    try:
        while len(connections) < number:
            connection = socket.socket(socket.AF_UNIX)
            connections.append(connection)
            until(partial(connects, connection, str(house.place / "run" / "hub.sock")))
        yield
    finally:
        for connection in connections:
            connection.close()


def connects(connection: socket.socket, path: str) -> bool:
    """False while the hub's queue of new connections is full."""
    connection.setblocking(False)
    try:
        connection.connect(path)
    except BlockingIOError:
        return False
    return True


def test_more_connections_than_the_soft_limit_end_no_hub_and_lose_no_answer(house: House) -> None:
    house.echo().stop()
    start(house, soft=256)
    pid = house.status()["pid"]
    house.ok("ask", "warm")
    with held(house, max(300, count(1100))):
        asks = [house.spawn("ask", f"question {number}") for number in range(count(280))]
        outcomes = [ask.end() for ask in asks]
    assert [outcome.status for outcome in outcomes] == [0] * len(asks)
    assert [outcome.out for outcome in outcomes] == [f"question {number}\n" for number in range(len(asks))]
    assert house.status()["pid"] == pid


def test_work_is_refused_while_descriptors_are_scarce_and_taken_again_after(house: House) -> None:
    house.echo().stop()
    start(house, soft=160, hard=160)
    house.ok("ask", "before")
    with held(house, 45):
        outcome = house.run("ask", "meanwhile")
        refused(outcome, 10, "too many connections", "ulimit -n")
        assert house.status()["state"] == "running", "what is no work is still answered"
    assert until(lambda: house.run("ask", "after").status == 0)
