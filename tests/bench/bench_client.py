"""What a command costs, as a whole process: an answer from the memory cache, and the first byte from the built-in guide."""

import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from tests.bench.measure import Number, spread
from tests.e2e.house import LLMCTL, House, house

LOOKS = ("--help", "ps", "models ls")
QUESTION = "How do I use my own model file?"
IMPORTS = [sys.executable, "-c", "import typer, zmq, msgspec"]


def milliseconds(command: Sequence[str], environ: dict[str, str]) -> float:
    start = time.perf_counter()
    subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    return (time.perf_counter() - start) * 1e3


def guide(runs: int) -> list[Number]:
    """The first byte of an answer that the built-in guide computes for the command: in a home without models."""
    with house() as home:
        first = _first_byte(home)
        home.ok("models", "unload", "guide")
        unloaded = _first_byte(home)
        warm = [_first_byte(home) for _ in range(runs)]
    return [
        Number("first byte from the built-in guide, loaded", statistics.median(warm), "ms", 300, spread(warm)),
        Number("... not loaded", unloaded, "ms"),
        Number("... in a new home, without a hub", first, "ms", 3000),
    ]


def _first_byte(home: House) -> float:
    start = time.perf_counter()
    command = home.spawn("ask", QUESTION, "--no-cache", "--no-stdin")
    command.first_byte()
    took = time.perf_counter() - start
    outcome = command.end()
    assert (outcome.status, outcome.out.count("llmctl models add")) == (0, 1), outcome
    return took * 1e3


def measure(home: House, runs: int) -> list[Number]:
    """Interleaved, so that whatever else the machine does falls on both alike."""
    environ = home.environ()
    ask = [str(LLMCTL), "ask", "the one that is stored"]
    looks = [[str(LLMCTL), *words.split()] for words in LOOKS]
    home.ok(*ask[1:])
    asks, imports = list[float](), list[float]()
    looked: list[list[float]] = [[] for _ in looks]
    for _ in range(runs):
        imports.append(milliseconds(IMPORTS, environ))
        asks.append(milliseconds(ask, environ))
        for samples, look in zip(looked, looks, strict=True):
            samples.append(milliseconds(look, environ))
    base = statistics.median(imports)
    return [
        Number("`python -c 'import typer, zmq, msgspec'`", base, "ms", note=spread(imports)),
        Number("`llmctl ask` from the memory cache", statistics.median(asks), "ms", note=spread(asks)),
        Number("... against those imports", statistics.median(asks) / base, "times", 1.5, "aim 1.2"),
        *(
            Number(f"`llmctl {words}`", statistics.median(samples), "ms", 150, spread(samples))
            for words, samples in zip(LOOKS, looked, strict=True)
        ),
    ]
