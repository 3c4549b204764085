"""Whether two answers are the same, as far as that can be told without a model.

Vectors are not compared: they do not tell "enabled" from "disabled".
"""

from llmctld.semantic.guards import names, numbers
from llmctld.semantic.words.fold import fold
from llmctld.semantic.words.tables import words

_LIST_MARKS = ".):"
_YES = words("yes yep yeah true correct right ja oui sí wahr vrai")
_NO = words("no nope false incorrect wrong nein non falsch faux")


def same_answer(a: str, b: str) -> bool | None:
    """True: equal but for case, spaces and punctuation. False: their numbers differ, each has a name that the other
    lacks, or one says yes and the other no. None: only a judge can tell. Symmetric, and linear: half a second for a MB."""
    left, right = fold(a).split(), fold(b).split()
    if left == right:
        return True
    if _yes_or_no(left) * _yes_or_no(right) < 0:
        return False
    if numbers.clash(numbers.quantities(fold(_unlisted(a)).split()), numbers.quantities(fold(_unlisted(b)).split())):
        return False
    ours, theirs = names.names(a, left), names.names(b, right)
    mine, yours = names.Mentions(left, ours), names.Mentions(right, theirs)
    return False if names.exchanged(ours, theirs, mine, yours) else None


def _yes_or_no(folded: list[str]) -> int:
    """1 where an answer begins with yes, -1 with no, else 0."""
    first = folded[0] if folded else ""
    return (first in _YES) - (first in _NO)


def _unlisted(text: str) -> str:
    """`text` without the numbers of its list items, "1." and "2)"."""
    lines = text.splitlines()
    for at, line in enumerate(lines):
        mark, _, rest = line.strip().lstrip("*#> ").partition(" ")
        if rest and mark[-1:] in _LIST_MARKS and mark[:-1].isdigit():
            lines[at] = rest
    return "\n".join(lines)
