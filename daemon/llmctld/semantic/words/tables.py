"""How the word tables of this room are written: words between spaces, one row of equal ones a line."""


def words(text: str) -> frozenset[str]:
    """The words of `text`, split at spaces."""
    return frozenset(text.split())


def rows(text: str) -> dict[str, str]:
    """Each word -> the first of its line. An underscore stands for a space inside a word."""
    table: dict[str, str] = {}
    for line in text.strip().splitlines():
        first, *others = (word.replace("_", " ") for word in line.split())
        table |= dict.fromkeys((first, *others), first)
    return table
