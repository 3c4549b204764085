"""The peer at its best: every flag that could help is tried on the very load, and all that was tried is told.

It knows flags and scores; what a score is made of is the row's.
"""

from collections.abc import Callable, Sequence

Flags = Sequence[str]

TRIES: tuple[Flags, ...] = (
    (),
    ("-fa", "on"),
    ("-fa", "off"),
    ("-kvu",),
    ("-ub", "128"),
    ("-ub", "256"),
    ("-b", "256", "-ub", "256"),
    ("-b", "4096", "-ub", "1024"),
    ("--cache-ram", "0"),
)
SPECULATION: tuple[Flags, ...] = (
    ("--spec-type", "ngram-simple"),
    ("--spec-type", "ngram-simple", "--spec-ngram-simple-size-n", "4", "--spec-ngram-simple-size-m", "16"),
    ("--spec-type", "ngram-map-k"),
    ("--spec-type", "ngram-map-k", "--spec-ngram-map-k-size-n", "4", "--spec-ngram-map-k-size-m", "16"),
    ("--spec-type", "ngram-map-k4v"),
    ("--spec-type", "ngram-mod"),
    ("--spec-type", "ngram-cache", "--spec-draft-n-max", "16"),
)
"""llama-server's own ways to draft from what was said before, each with the lookup it comes with, and shorter ones."""


def best(score: Callable[[Flags], float], tries: Sequence[Flags] = TRIES) -> tuple[Flags, str]:
    """The flags that score highest, and a sentence with all scores.

    One change at a time, and then the two best ones together where both beat the defaults.
    """
    scores = [(score(flags), flags) for flags in tries]
    plain = next((value for value, flags in scores if not flags), None)
    (first, one), (second, two) = sorted(scores, key=_value, reverse=True)[:2]
    if plain is not None and plain < min(first, second) and not set(one) & set(two):
        scores.append((score([*one, *two]), [*one, *two]))
    scores.sort(key=_value, reverse=True)
    told = ", ".join(f"`{' '.join(flags) or 'its defaults'}` {value:.4g}" for value, flags in scores)
    return scores[0][1], f"tried: {told}"


def _value(scored: tuple[float, Flags]) -> float:
    return scored[0]
