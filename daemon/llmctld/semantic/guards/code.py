"""Guard `code`: what stands in backticks, paths, flags, identifiers, operators, and the verbs of known commands.

It compares how code is written, not what it does.
"""

import re
from collections.abc import Sequence

from llmctld.semantic.words.known import KNOWN
from llmctld.semantic.words.tables import words

_PIECES = re.compile(
    r"""
      ```.*?``` | `[^`\n]+`
    | (?<!\S)--[A-Za-z][\w-]* | (?<!\S)-[A-Za-z]{1,3}(?!\S)             # a flag
    | (?<![\w/])(?:~|\.{1,2})/[\w./~+-]+ | (?<![\w/])/[\w.~+-]+/[\w./~+-]*  # a path
    | (?<!\S)/(?:etc|tmp|usr|var|home|dev|opt|bin|proc|sys|root|mnt)\b
    | (?<!\w)[A-Za-z]:\\[\w.\\-]+
    | \b[^\W\d][\w.]*\((?:[^()\s]{0,80}[.,='"][^()\s]{0,80})?\)         # a call
    | \b[^\W\d]\w*_\w+\b                          # an identifier
    | \b[a-z]+[A-Z]\w*\b
    | \b\w+(?:\.\w+)*\.(?:py|js|ts|c|cpp|h|java|rb|go|rs|sh|txt|csv|json|ya?ml|toml|xml|html|css|md|exe|dll|so)\b
    | \b\w+(?:\.\w+)*\.(?:zip|pdf|com|org|net|io)\b
    | \b0x[0-9a-fA-F]+\b
    | \w\+\+|\+\+\w | (?<!\S)[<>|](?!\S) | (?<!\S)[-+*/]=(?!\S)
    | [=!<>]=+|=>|->|&&|\|\||::|\+\+|<<|>>
    """,
    re.VERBOSE | re.DOTALL,
)
_MAYBE = re.compile(r"[`_(/\\=<>&|:+.-]|[a-z][A-Z]|0x")
_COMMANDS = words(
    "git docker kubectl npm pip apt brew systemctl cargo conda svn yarn helm terraform aws gcloud go make"
)
_VERBS = words(
    """
    push pull merge rebase commit clone fetch checkout reset revert stash add rm init log diff branch tag switch restore run start
    stop restart exec build ps logs up down install uninstall update upgrade remove search list show apply delete get describe
    plan destroy enable disable status cherry-pick bisect blame amend squash kill rmi images inspect freeze test publish
    """
)


_STRICT = re.compile(r"--?[A-Za-z].*|[=!<>]=+")


def differ(a: set[str], b: set[str], words_of_a: set[str], words_of_b: set[str]) -> bool:
    """Whether each text has a piece of code that the other has neither as code nor as a word, or only one text has a certain flag
    or comparison."""
    if a == b:
        return False
    here = {piece for piece in a - b if _STRICT.fullmatch(piece) or piece.casefold() not in words_of_b}
    there = {piece for piece in b - a if _STRICT.fullmatch(piece) or piece.casefold() not in words_of_a}
    return bool(here and there) or any(map(_STRICT.fullmatch, here | there))


def code(text: str, folded: Sequence[str]) -> set[str]:
    """The pieces of code in a text, as they are written."""
    found = set()
    if _MAYBE.search(text):
        for piece in _PIECES.findall(text):
            piece = " ".join(piece.strip("`").split()).rstrip(".")
            if piece.casefold() not in KNOWN and piece not in ("C++", "++"):
                found.add(piece)
    for at in () if _COMMANDS.isdisjoint(folded) else range(len(folded) - 1):
        if folded[at] in _COMMANDS and folded[at + 1] in _VERBS:
            found.add(f"{folded[at]} {folded[at + 1]}")
    return found
