"""The other side: servers that speak HTTP, started as they are meant to be and asked for the same.

It knows llama-server's and llama-cpp-python's requests and replies; which flags are the best is found by trying.
"""

import http.client
import json
import socket
import subprocess
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.bench.engine.drive import Prompt, Use
from tests.e2e.house import until

LOAD_S = 60.0
PATIENCE_S = 300.0


class Talk:
    """One connection to llama-server."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)

    def close(self) -> None:
        self._connection.close()

    def post(self, path: str, body: dict[str, Any]) -> http.client.HTTPResponse:
        self._connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        response = self._connection.getresponse()
        if response.status != 200:
            raise RuntimeError(f"{path} is answered with {response.status}: {response.read()[:500]!r}")
        return response

    def ask(self, prompt: Prompt, generated: int) -> Use:
        answer = json.loads(self.post("/completion", self._body(prompt, generated)).read())
        return Use(answer["tokens_predicted"], answer["timings"]["prompt_n"])

    def stream(self, prompt: Prompt, generated: int) -> Generator[None, None, None]:
        response = self.post("/completion", self._body(prompt, generated) | {"stream": True})
        try:
            for line in response:
                if line.startswith(b"data: ") and not json.loads(line[6:])["stop"]:
                    yield
        finally:
            self.close()

    def _body(self, prompt: Prompt, generated: int) -> dict[str, Any]:
        return {
            "prompt": prompt,
            "n_predict": generated,
            "temperature": 0,
            "ignore_eos": True,
            "cache_prompt": True,
        }


class PythonTalk(Talk):
    """One connection to llama-cpp-python's server, which takes text only; a ban on the end token keeps it going."""

    def ask(self, prompt: Prompt, generated: int) -> Use:
        body = {"prompt": prompt, "max_tokens": generated, "temperature": 0, "logit_bias": {"2": -100}}
        usage = json.loads(self.post("/v1/completions", body).read())["usage"]
        return Use(usage["completion_tokens"], usage["prompt_tokens"])


class Peer:
    """Implements drive.Engine: a server that listens."""

    def __init__(self, port: int, kind: type[Talk], pid: int) -> None:
        self.port, self.pid = port, pid
        self._kind = kind

    @contextmanager
    def talk(self) -> Iterator[Talk]:
        talk = self._kind(self.port)
        try:
            yield talk
        finally:
            talk.close()


def arguments(slots: int, context: int, flags: Sequence[str] = ()) -> list[str]:
    """What llama-server is given, but for the model and the port."""
    return ["-t", "2", "-np", str(slots), "-c", str(slots * context), *flags]


@contextmanager
def llama_server(place: Path, model: Path, slots: int, context: int, flags: Sequence[str] = ()) -> Iterator[Peer]:
    """A fresh one, loaded and warm."""
    port = free_port()
    command = [str(place / "llama-server"), "-m", str(model), "--port", str(port), *arguments(slots, context, flags)]
    with _running(command, port, "/health") as pid:
        peer = Peer(port, Talk, pid)
        with peer.talk() as talk:
            talk.ask([1], 2)
        yield peer


def llama_bench(place: Path, model: Path, generated: int) -> float:
    """Tokens per second of the library's own loop: no server, no sampling, one sequence."""
    command = [str(place / "llama-bench"), "-m", str(model), "-t", "2", "-p", "0", "-n", str(generated), "-o", "json"]
    done = subprocess.run([*command, "-r", "2"], capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout)[0]["avg_ts"])


@contextmanager
def python_server(python: Path, model: Path, context: int) -> Iterator[Peer]:
    """`python -m llama_cpp.server`: one request at a time is all that it does."""
    port = free_port()
    command = [str(python), "-m", "llama_cpp.server", "--model", str(model), "--port", str(port)]
    with _running(
        [*command, "--n_ctx", str(context), "--n_threads", "2", "--n_threads_batch", "2"], port, "/v1/models"
    ) as pid:
        peer = Peer(port, PythonTalk, pid)
        with peer.talk() as talk:
            talk.ask("1", 2)
        yield peer


@contextmanager
def _running(command: Sequence[str], port: int, path: str) -> Iterator[int]:
    """Its pid: a server until the end of the block. Raises RuntimeError with its last words when it does not come up."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: process.poll() is not None or _answers(port, path), LOAD_S, f"an answer of {command[0]}")
        if process.poll() is not None:
            raise RuntimeError(f"ended with status {process.returncode} instead of listening: {' '.join(command)}")
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", path)
        return connection.getresponse().status == 200
    return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
