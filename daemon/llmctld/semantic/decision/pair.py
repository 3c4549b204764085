"""A question beside the stored ones that are most like it, as the numbers on which the decision rests.

Knows similarities, which stored answers are equal, and how an entry fared; not what a vector or an index is.
"""

from collections.abc import Hashable, Sequence
from typing import NamedTuple

from llmctld.semantic.words.fold import restated


class Near(NamedTuple):
    """A stored question that walls and guards let through."""

    similarity: float
    """Cosine to the new question."""
    answer: Hashable
    """The same for entries whose answers are the same: the digest of the folded answer, or, where a verdict called them the
    same, the `answer` of the entry that it was compared with."""
    text: str
    """The stored question."""
    same: int = 0
    """How often its answer was verified to serve another question."""
    different: int = 0
    """How often not."""


class Pair(NamedTuple):
    """What is decided on: the new question and the nearest stored one."""

    similarity: float
    gap: float
    """Cosine to the nearest, less cosine to the nearest with ANOTHER answer; the runner-up with the same answer is no rival
    but a witness. Without a rival: less that of the farthest, where there are several, else the whole similarity."""
    kin: int
    """How many of the neighbours have the nearest one's answer, itself included."""
    likeness: float
    """Their mean cosine to the new question."""
    size: int
    """Entries behind the same wall."""
    restated: bool
    """Equal but for case, punctuation, contractions, politeness."""
    same: int
    different: int


def describe(new: str, near: Sequence[Near], size: int) -> Pair | None:
    """The pair of `new` and the first of `near` (best first, none refused by a guard); None where there is none."""
    if not near:
        return None
    first = near[0]
    kin = [other.similarity for other in near if other.answer == first.answer]
    rivals = [other.similarity for other in near if other.answer != first.answer]
    floor = near[-1].similarity if len(near) > 1 else 0.0
    return Pair(
        similarity=first.similarity,
        gap=first.similarity - (rivals[0] if rivals else floor),
        kin=len(kin),
        likeness=sum(kin) / len(kin),
        size=size,
        restated=restated(new, first.text),
        same=first.same,
        different=first.different,
    )
