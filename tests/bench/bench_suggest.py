"""The speed that `models suggest` would expect of a model file, through the speed that the hub reports for it."""

from pathlib import Path

import msgspec

from llmctl.suggestions import Bandwidth, Room, suggested, tokens_per_second
from tests.bench.measure import Number
from tests.e2e.house import House

TOKENS, RUNS = 64, 5
WITHIN = 0.3
"""How far the estimate may be off."""
BITS = 7.36
"""Per weight of Gemma 3 270M in Q4_K_M, most of which is its vocabulary in Q8_0: gives the parameters of that file."""


def measure(home: House, model: Path) -> list[Number]:
    """The fastest of some answers, since other programs only slow them down; the measurement of the bandwidth leaves them out."""
    home.ok("models", "suggest", "-q", "--measure")
    measured = msgspec.json.decode((home.place / "state" / "bandwidth.json").read_bytes(), type=Bandwidth)
    weights = home.ok("models", "estimate", model, "--json").last["weights_bytes"]
    like = next(it for it in suggested().models if it.token_bytes)
    like = msgspec.structs.replace(like, bytes=weights, parameters=weights * 8 / BITS / 1e9, active=None)
    expected = tokens_per_second(Room(2**62, host_rate=measured.host, row_s=measured.row_s), like)
    assert expected is not None
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
    terms = f"{(measured.host or 0) / 1e9:.3g} GB/s and {measured.row_s * 1e9:.3g} ns a row"
    note = f"{expected:.3g} against {max(rates):.3g} tok/s, {terms}"
    return [
        Number("models suggest, expected speed off by", abs(expected / max(rates) - 1), "of the real one", WITHIN, note)
    ]
