"""A small real hub: binds, holds the lock, writes hub.json and speaks the wire; what it does to a request is its
scenario.

Run as `python fake_hub.py SCENARIO`; one line of JSON on stdout says that it is ready. It refuses to be a model:
the answer is the prompt, word by word.
"""

import contextlib
import fcntl
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import zmq

import llmctl
from llmctl import config, wire
from llmctl.paths import find_paths, make_private

Send = Callable[[wire.AnyReply], None]
paths = find_paths()


def answer(request: wire.Generate, text: str, **fields: Any) -> wire.Answer:
    return wire.Answer(
        **{
            "id": "0123",
            "model": request.model or "fake",
            "text": text,
            "user": request.user,
            "usage": wire.TokenUsage(3, 0, len(text.split())),
            "timings": wire.Timings(),
            "cache": wire.CacheUse(),
            **fields,
        }
    )


def words(text: str) -> list[str]:
    first, *others = text.split(" ")
    return [first, *(f" {word}" for word in others)]


class Hub:
    """One loop, one thread. `held` are requests that never end by themselves: (client, id) -> (request, text so
    far).
    """

    def __init__(self, scenario: str, socket: "zmq.Socket[bytes]") -> None:
        self.scenario = scenario
        self.socket = socket
        self.held: dict[tuple[bytes, bytes], tuple[wire.Generate, str]] = {}
        self.log = (paths.run / "seen.jsonl").open("ab", buffering=0)
        self.stopping = False

    def serve(self) -> None:
        socket = self.socket
        while not self.stopping:
            if socket.poll(int(wire.HEARTBEAT_S * 1000)):
                client, request_id, body = socket.recv_multipart()

                def send(reply: wire.AnyReply, to: tuple[bytes, bytes] = (client, request_id)) -> None:
                    with contextlib.suppress(zmq.ZMQError):
                        socket.send_multipart([*to, wire.encode(reply)])

                self.handle((client, request_id), wire.decode_request(body), send)
            elif self.scenario != "stalls":
                for key in self.held:
                    with contextlib.suppress(zmq.ZMQError):
                        socket.send_multipart([*key, wire.encode(wire.Progress())])

    def handle(self, key: tuple[bytes, bytes], request: wire.AnyRequest, send: Send) -> None:
        self.log.write(msgspec.json.encode(request) + b"\n")
        name = type(request).__name__.lower()
        getattr(self, f"on_{name}", self.on_other)(key, request, send)

    def on_generate(self, key: tuple[bytes, bytes], request: wire.Generate, send: Send) -> None:
        scenario = getattr(self, f"scenario_{self.scenario}", self.scenario_streams)
        scenario(key, request, send)

    def on_ack(self, key: tuple[bytes, bytes], request: wire.Ack, send: Send) -> None:
        pass

    def on_cancel(self, key: tuple[bytes, bytes], request: wire.Cancel, send: Send) -> None:
        if key in self.held:
            asked, text = self.held.pop(key)
            send(wire.Cancelled(answer=answer(asked, text, finish_reason="cancelled")))

    def on_status(self, key: tuple[bytes, bytes], request: wire.Status, send: Send) -> None:
        version, protocol = self.identity()
        busy = 2 if self.scenario.endswith("busy") else len(self.held)
        send(
            wire.Done(
                result=wire.HubStatus(
                    state="running",
                    pid=os.getpid(),
                    version=version,
                    protocol=protocol,
                    uptime_s=1.5,
                    socket=str(paths.socket),
                    models=["fake"],
                    requests_in_flight=busy,
                )
            )
        )

    def on_stop(self, key: tuple[bytes, bytes], request: wire.Stop, send: Send) -> None:
        if self.scenario == "stubborn":
            return
        send(wire.Done(result=wire.Stopped(cancelled=["0123 of fake"] if self.held else [])))
        self.stopping = True

    def on_ps(self, key: tuple[bytes, bytes], request: wire.Ps, send: Send) -> None:
        send(
            wire.Done(result=wire.Engines(engines=[wire.EngineStatus("fake", "echo", 7, "ready", 0, 4096, 128, 4, 1)]))
        )

    def on_loadmodel(self, key: tuple[bytes, bytes], request: wire.LoadModel, send: Send) -> None:
        self.on_ps(key, wire.Ps(), send)

    def on_addmodel(self, key: tuple[bytes, bytes], request: wire.AddModel, send: Send) -> None:
        send(
            wire.Done(
                result=wire.Model(
                    name=request.name,
                    target=request.target,
                    backend="echo",
                    aliases=request.aliases,
                    settings=dict(request.settings),
                )
            )
        )

    def on_getcachestats(self, key: tuple[bytes, bytes], request: wire.GetCacheStats, send: Send) -> None:
        levels = [wire.LevelStats("memory", 3, 1, 0, 1, 200, 0.4), wire.LevelStats("disk", 0, 1)]
        send(wire.Done(result=wire.CacheStats(levels=levels, requests=4, hit_rate=0.75, joined=1, saved_s=2.5)))

    def on_clearcache(self, key: tuple[bytes, bytes], request: wire.ClearCache, send: Send) -> None:
        send(wire.Done(result=wire.Cleared(entries=5)))

    def on_undo(self, key: tuple[bytes, bytes], request: wire.Undo, send: Send) -> None:
        send(wire.Done(result=wire.Undone(prompt="what was asked")))

    def on_other(self, key: tuple[bytes, bytes], request: wire.AnyRequest, send: Send) -> None:
        send(wire.Done(result=wire.Nothing()))

    # ---- what happens to a Generate ----

    def scenario_streams(self, key: tuple[bytes, bytes], request: wire.Generate, send: Send) -> None:
        """The prompt as its answer; the model `slow` never ends by itself, `fails-CODE` fails, `long` is cut."""
        text = "\n\n".join(filter(None, [request.prompt, *(file.text for file in request.files), request.stdin]))
        model = request.model or ""
        if request.stream and request.extract is None:
            if model == "thinks":
                send(wire.Delta(reasoning="let me see"))
            for word in words(text):
                send(wire.Delta(text=word))
        if model == "slow":
            self.held[key] = (request, text)
        elif model.startswith("fails-"):
            part = self.part(request)
            send(wire.Failed(code=model[6:], message=f"failed with {model[6:]}", hint="do this", answer=part))
        elif model == "elsewhere":
            send(wire.Cancelled(answer=answer(request, text, finish_reason="cancelled")))
        else:
            send(wire.Notice(text="a notice"))
            reason = "length" if model == "long" else "stop"
            thought = "let me see" if model == "thinks" else None
            send(wire.Done(result=answer(request, text, finish_reason=reason, reasoning=thought)))

    def part(self, request: wire.Generate) -> wire.Answer | None:
        text = request.prompt or ""
        return answer(request, text, finish_reason="timeout") if request.model == "fails-timeout" else None

    def scenario_flood(self, key: tuple[bytes, bytes], request: wire.Generate, send: Send) -> None:
        text = "".join(f"line {number}\n" for number in range(20000))
        for piece in text.splitlines(keepends=True):
            send(wire.Delta(text=piece))
        self.held[key] = (request, text)

    def scenario_vanishes(self, key: tuple[bytes, bytes], request: wire.Generate, send: Send) -> None:
        send(wire.Delta(text="the first words"))
        self.socket.close(linger=-1)
        self.socket.context.term()  # returns once ZeroMQ's own thread has written them
        os.kill(os.getpid(), signal.SIGKILL)

    def scenario_stalls(self, key: tuple[bytes, bytes], request: wire.Generate, send: Send) -> None:
        """Says nothing."""

    def scenario_retry(self, key: tuple[bytes, bytes], request: wire.Generate, send: Send) -> None:
        send(wire.Failed(code="unreachable", message="the hub is stopping", retry=True))
        self.scenario = "streams"

    def scenario_foreign(self, key: tuple[bytes, bytes], request: wire.Generate, send: Send) -> None:
        send(wire.Failed(code="unreachable", message="another protocol"))

    def identity(self) -> tuple[str, int]:
        version = "0.0.1" if self.scenario.startswith(("old", "foreign")) else llmctl.__version__
        return version, 99 if self.scenario.startswith("foreign") else wire.PROTOCOL


def main() -> None:
    scenario = sys.argv[1]
    make_private(paths.run)
    lock = os.open(paths.lock, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    paths.socket.unlink(missing_ok=True)
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.linger = 200
    socket.sndhwm = 0
    socket.bind(f"ipc://{paths.socket}")
    hub = Hub(scenario, socket)
    version, protocol = hub.identity()
    write_info(version, protocol)
    sys.stdout.write(f'{{"pid": {os.getpid()}}}\n')
    sys.stdout.flush()
    hub.serve()
    paths.socket.unlink(missing_ok=True)
    socket.close()
    context.term()


def write_info(version: str, protocol: int) -> None:
    info = wire.HubInfo(
        pid=os.getpid(),
        version=version,
        protocol=protocol,
        socket=str(paths.socket),
        started=time.time(),
        fingerprint=config.Config().fingerprint(),
    )
    fresh = Path(f"{paths.hub_info}.new")
    fresh.write_bytes(msgspec.json.encode(info))
    fresh.replace(paths.hub_info)


if __name__ == "__main__":
    main()
