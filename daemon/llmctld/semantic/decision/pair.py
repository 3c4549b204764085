"""A new question and its nearest stored ones, as the numbers that the decision rests on.

It works on similarities, on which stored answers are equal, and on how a stored question fared before; not on vectors.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from llmctld.semantic.words.fold import restated


class Neighbour(NamedTuple):
    """A stored question that walls and guards let through."""

    similarity: float
    """Cosine to the new question."""
    answer: Hashable
    """Equal for stored questions with the same answer: the digest of the folded answer, or, after a verdict that two answers are
    the same, the `answer` of the other question."""
    text: str
    """The stored question."""
    same: int = 0
    """How often its answer was found to serve another question."""
    different: int = 0
    """How often it was found not to."""


class Pair(NamedTuple):
    """The new question and the nearest stored one. The order of the fields is stored (`entries.packed`)."""

    similarity: float
    gap: float
    """Cosine to the nearest, less the cosine to the nearest with ANOTHER answer. Where all neighbours have the same answer:
    less the cosine to the farthest; of a single neighbour the whole cosine."""
    agreeing: int
    """Neighbours with the answer of the nearest, itself included."""
    mean_similarity: float
    """Mean cosine of those to the new question."""
    size: int
    """Stored questions behind the same wall."""
    restated: bool
    """Equal but for case, punctuation, contractions and politeness."""
    same: int
    different: int


def describe(new: str, near: Sequence[Neighbour], size: int) -> Pair | None:
    """The pair of `new` and the first of `near` (nearest first, none refused by a guard); None if there is none."""
    if not near:
        return None
    first = near[0]
    agreeing = [other.similarity for other in near if other.answer == first.answer]
    others = [other.similarity for other in near if other.answer != first.answer]
    floor = near[-1].similarity if len(near) > 1 else 0.0
    return Pair(
        similarity=first.similarity,
        gap=first.similarity - (others[0] if others else floor),
        agreeing=len(agreeing),
        mean_similarity=sum(agreeing) / len(agreeing),
        size=size,
        restated=restated(new, first.text),
        same=first.same,
        different=first.different,
    )
