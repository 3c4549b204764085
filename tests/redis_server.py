"""A real redis-server of a test's own, on a unix socket or a port of loopback, that can be killed and begun again."""

import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.e2e.house import PATIENCE_S, until

PROGRAM = shutil.which("redis-server") or shutil.which("valkey-server")
needs_redis = pytest.mark.skipif(PROGRAM is None, reason="neither redis-server nor valkey-server is installed")


class RedisServer:
    """Keeps nothing on disk: who kills it has emptied it."""

    def __init__(self, folder: Path, password: str | None = None, tcp: bool = False) -> None:
        self.folder, self.password = folder, password
        self.port = free_port() if tcp else 0
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def socket(self) -> Path:
        return self.folder / "redis.sock"

    def url(self, password: str | None = None) -> str:
        """With the password that is given, or its own."""
        secret = password if password is not None else self.password
        who = f":{secret}@" if secret is not None else ""
        return f"redis://{who}127.0.0.1:{self.port}/0" if self.port else f"unix://{who}{self.socket}"

    def start(self) -> None:
        assert PROGRAM is not None
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", str(self.socket), "--save", ""]
        options += ["--appendonly", "no", "--dir", str(self.folder), "--daemonize", "no"]
        options += ["--requirepass", self.password] if self.password is not None else []
        self._process = subprocess.Popen([PROGRAM, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        until(self._answers, what="an answer of redis-server")

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "redis-server has ended"
        return self.ask("PING")[:1] in (b"+", b"-")

    def ask(self, *words: str) -> bytes:
        """The beginning of the answer to a command; b"" when nobody answers."""
        try:
            with socket.socket(socket.AF_UNIX) as wire:
                wire.settimeout(PATIENCE_S)
                wire.connect(str(self.socket))
                auth = [["AUTH", self.password]] if self.password is not None else []
                answer = b""
                for command in (*auth, words):
                    parts = "".join(f"${len(word.encode())}\r\n{word}\r\n" for word in command if word is not None)
                    wire.sendall(f"*{len(command)}\r\n{parts}".encode())
                    answer = wire.recv(65536)
                return answer
        except OSError:
            return b""

    def keys(self) -> int:
        return int(self.ask("DBSIZE").strip(b":\r\n"))

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
            self.socket.unlink(missing_ok=True)

    @contextmanager
    def standing_still(self) -> Iterator[None]:
        """It takes connections, and answers nobody."""
        assert self._process is not None
        process = psutil.Process(self._process.pid)
        process.suspend()
        try:
            yield
        finally:
            process.resume()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def a_redis(password: str | None = None, tcp: bool = False) -> Iterator[RedisServer]:
    folder = Path(tempfile.mkdtemp(prefix="rd", dir="/tmp"))  # the socket's path must stay short
    server = RedisServer(folder, password, tcp)
    try:
        yield server
    finally:
        server.kill()
        shutil.rmtree(folder, ignore_errors=True)
