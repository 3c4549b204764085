"""The speed that `models suggest` would expect of a model file, through the speed that the hub reports for it."""

from pathlib import Path

from llmctl.suggestions import EFFICIENCY
from tests.bench.measure import Number
from tests.e2e.house import House

TOKENS, RUNS = 64, 5
WITHIN = 0.3
"""How far the estimate may be off."""


def measure(home: House, model: Path) -> list[Number]:
    """The fastest of some answers, since other programs only slow them down; the measurement of the bandwidth leaves them out."""
    line = next(it for it in home.ok("models", "suggest", "--json", "--measure").lines if it["tokens_per_second"])
    rate = line["tokens_per_second"] * line["bytes"] * line["active_parameters"] / line["parameters"] / EFFICIENCY
    weights = home.ok("models", "estimate", model, "--json").last["weights_bytes"]
    expected = EFFICIENCY * rate / weights
    home.ok("models", "add", "suggested", model, "--force", "--set=slots=1", "--set=speculation=off")
    asked = (
        "ask",
        "Tell a long story.",
        "-m",
        "suggested",
        "--max-tokens",
        TOKENS,
        "--no-cache",
        "--json",
        "--no-stream",
    )
    rates = [home.ok(*asked).last["timings"]["tokens_per_second"] for _ in range(RUNS)]
    note = f"{expected:.3g} against {max(rates):.3g} tok/s, {rate / 1e9:.3g} GB/s"
    return [
        Number("models suggest, expected speed off by", abs(expected / max(rates) - 1), "of the real one", WITHIN, note)
    ]
