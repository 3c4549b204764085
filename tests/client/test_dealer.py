"""The connection to a hub: who is at its other end, before anything is sent, and that it never leads elsewhere later."""

import os
import socket
import struct
import tempfile
from pathlib import Path

import pytest
import zmq

from llmctl import dealer, launch, presence, wire
from llmctl.client import Client
from llmctl.config import Config
from llmctl.dealer import NoHub
from llmctl.errors import Unreachable
from llmctl.link import Link
from llmctl.paths import Paths
from llmctl.presence import Peer
from tests.client.conftest import MakeFake
from tests.impostor import OTHER, impostor, needs_root


@needs_root
def test_the_peer_of_the_connection_itself_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even if every look at the socket beforehand saw a hub of this user."""
    monkeypatch.setattr(presence, "peer", lambda path: Peer(os.getpid(), os.getuid()))
    monkeypatch.setattr(dealer, "peer", lambda path: Peer(os.getpid(), os.getuid()))
    with tempfile.TemporaryDirectory(prefix="lc", dir="/tmp") as folder:  # the other user must reach it
        Path(folder).chmod(0o777)
        socket_path = Path(folder, "hub.sock")
        with impostor(socket_path) as other:
            with pytest.raises(Unreachable) as caught:
                Link(socket_path, other.pid).send(b"i" * wire.ID_BYTES, wire.Status())
            assert f"belongs to user {OTHER}, and this is user {os.getuid()}" in caught.value.message
            assert other.end() == "", "it was sent nothing"


def test_a_hub_of_this_user_is_named_by_the_connection(tmp_path: Path) -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(f"ipc://{tmp_path}/hub.sock")
        link = Link(tmp_path / "hub.sock", pid=1)
        assert link.pid in (1, os.getpid()), "1 only where the system does not tell"
        link.close()


def test_a_lost_connection_is_not_made_anew(tmp_path: Path) -> None:
    """It could lead to a process that nobody has checked."""
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(f"ipc://{tmp_path}/hub.sock")
        link = Link(tmp_path / "hub.sock", 0)
        link.send(b"i" * wire.ID_BYTES, wire.Status())
        router.recv_multipart()
    with zmq.Context() as context, context.socket(zmq.ROUTER) as later:
        later.bind(f"ipc://{tmp_path}/hub.sock")
        link.send(b"i" * wire.ID_BYTES, wire.Status())
        assert not later.poll(400), "ZeroMQ connects again after 100 ms unless it is told not to"
    link.close()


def test_a_socket_without_a_hub_is_an_error_at_once(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead.sock"))
    for name in ("dead.sock", "none.sock"):
        with pytest.raises(NoHub, match=name):
            Link(tmp_path / name, 0)


def test_many_connections_at_once_wait_for_room(tmp_path: Path) -> None:
    """A full queue of connections refuses ZeroMQ's own connect, which does not wait."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "hub.sock"))
        server.listen(0)
        waiting = socket.socket(socket.AF_UNIX)
        waiting.connect(str(tmp_path / "hub.sock"))
        looks = []

        def look(path: Path) -> Peer:
            looks.append(server.accept()[0])
            return Peer(0, 0)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dealer, "peer", look)
            link = Link(tmp_path / "hub.sock", 0)
        assert len(looks) == 1
        link.close()
        for accepted in (*looks, waiting):
            accepted.close()


def test_a_hub_that_ends_between_look_and_connection_is_replaced_by_the_next(
    fake: MakeFake, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = fake()
    found = launch.running(paths)
    assert found is not None
    tries: list[int] = []

    def gone_first(path: Path, pid: int) -> Link:
        tries.append(pid)
        if len(tries) == 1:
            raise NoHub("no hub listens")
        return Link(path, pid)

    monkeypatch.setattr("llmctl.client.Link", gone_first)
    with Client(paths=paths, config=Config()) as client:
        client.call(wire.Status())
    assert tries == [hub.process.pid] * 2


def test_the_peer_on_macos_is_read_from_its_own_structure(monkeypatch: pytest.MonkeyPatch) -> None:
    class Connection:
        def getsockopt(self, level: int, option: int, size: int = 0) -> int | bytes:
            assert level == presence.SOL_LOCAL
            if option == presence.LOCAL_PEERPID:
                return 4711
            return struct.pack("=IIhxx16I", 0, 501, 1, 20, *[0] * 15)[:size]

    monkeypatch.delattr(socket, "SO_PEERCRED", raising=False)
    assert presence._credentials(Connection()) == Peer(4711, 501)  # type: ignore[arg-type]
