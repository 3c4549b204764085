"""Repeated loads: fifty leak nothing, and three models share memory for two as the simulation predicts."""

import os
import time
from pathlib import Path
from threading import Event
from typing import NamedTuple

from llmctl import wire
from tests import tiny_gguf
from tests.e2e.dealer import Dealer
from tests.e2e.house import House, until
from tests.e2e.house import house as a_house
from tests.hub.traces import Request, mixed, play
from tests.stress.scale import count, seeded

MIB = 2**20
CYCLES, SETTLED = 50, 5
MIXED = 200
SECOND = 0.4
"""A second of the trace, in seconds of this test: long against what an engine needs to start."""
FIRST = 0.5
"""Seconds of the trace until an answer begins: so none ends when the next request comes, which milliseconds would decide."""


class Held(NamedTuple):
    """What the hub's process tree has while no model is loaded."""

    pss: int
    files: int
    children: int
    shared: int


def held(house: House) -> Held:
    hub = house.hub()
    tree = [hub, *hub.children(recursive=True)]
    shared = len(list(Path("/dev/shm").iterdir())) if Path("/dev/shm").is_dir() else 0
    return Held(
        sum(process.memory_full_info().pss for process in tree),
        sum(process.num_fds() for process in tree),
        len(tree) - 1,
        shared,
    )


def test_repeated_loads_leak_no_memory_files_or_processes(tmp_path: Path) -> None:
    """PSS within 5 MiB, and no more open files, children and shared memory objects after the last cycle than after the fifth."""
    tiny_gguf.write(tmp_path / "m.gguf", seed=7, context=512)
    with a_house() as house:
        house.ok("models", "add", "m", tmp_path / "m.gguf")
        cycles = max(count(CYCLES), 2)
        for cycle in range(1, cycles + 1):
            house.ok("models", "load", "m")
            assert house.ok("ask", "-m", "m", f"cycle {cycle}", "--max-tokens", "8").out
            house.ok("models", "unload", "m")
            until(lambda: not house.engines(), what="the end of the engine")
            if cycle == min(SETTLED, cycles - 1):
                before = held(house)
        after = held(house)
    print(f"after cycle {min(SETTLED, cycles - 1)}: {before}; after cycle {cycles}: {after}")
    assert abs(after.pss - before.pss) <= 5 * MIB
    assert all(now <= then for now, then in zip(after[1:], before[1:], strict=True))


def loads(house: House) -> int:
    return house.log.read_text().count('"event": "a model is loaded"')


def run(house: House, trace: list[Request]) -> list[str]:
    """Sends each request at its time through one socket; returns the answers in the order of the trace."""
    texts: dict[bytes, str] = {}
    with Dealer(house.socket) as dealer:
        order, pause, began = [], Event(), time.monotonic()
        for request in trace:
            pause.wait(max(0.0, began + request.at * SECOND - time.monotonic()))
            prompt = "x" * int(request.takes)  # the first comes at FIRST, and the end takes a second as well
            order.append(dealer.send(wire.Generate(prompt=prompt, model=request.model, user="u", cache="skip")))
        while len(texts) < len(trace):
            identity, body = dealer.receive_frames()
            reply = wire.decode_reply(body)
            if isinstance(reply, wire.FINAL):
                assert isinstance(reply, wire.Done), reply
                assert isinstance(reply.result, wire.Answer)
                texts[identity] = reply.result.text
    return [texts[identity] for identity in order]


def three(house: House) -> None:
    """Models A, B and C, which say one character a second of the trace and load in one; there is room for two of them."""
    house.variables["LLMCTL_LIMITS__MEMORY_BYTES"] = "2M"
    for name in "ABC":
        house.echo(
            name, takes="1M", slots=64, first_ms=FIRST * SECOND * 1000, token_ms=SECOND * 1000, load_ms=SECOND * 500
        )


def simulate(trace: list[Request]) -> int:
    """Loads."""
    return play([request._replace(takes=request.takes + FIRST) for request in trace], 2, 20.0 / SECOND).loads


def test_two_hundred_mixed_requests_over_three_models_with_room_for_two() -> None:
    """All are answered; and at most half as many loads again as the simulation has: engines start slower where much else runs."""
    trace = mixed(seeded(), max(count(MIXED), 12), "ABC", 0.5, (1, 4))
    with a_house() as house:
        three(house)
        texts = run(house, trace)
        assert len(texts) == len(trace)
        assert all(texts)
        found = loads(house)
    simulated = simulate(trace)
    print(f"{len(trace)} requests: {found} loads, {simulated} in the simulation")
    assert found <= max(simulated + 1, 1.5 * simulated)


def test_one_real_run_agrees_with_the_simulation() -> None:
    """Twelve requests, some seconds apart: as many loads as the simulation says, give or take one."""
    trace = mixed(seeded(), 12, "ABC", 2.0, (1, 4))
    with a_house() as house:
        three(house)
        run(house, trace)
        found = loads(house)
    simulated = simulate(trace)
    print(f"twelve requests: {found} loads, {simulated} in the simulation; load {os.getloadavg()[0]:.1f}")
    assert abs(found - simulated) <= 1
