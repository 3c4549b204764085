"""Code in a text: what stands in backticks, paths, flags, identifiers, operators, and the verbs of known commands."""

import re
from collections.abc import Sequence

from llmctld.cache.semantic.known import KNOWN
from llmctld.cache.semantic.tables import words

_PIECES = re.compile(
    r"""
      ```.*?``` | `[^`\n]+`
    | (?<!\S)--?[A-Za-z][\w-]*                    # a flag
    | (?<!\w)(?:~|\.{1,2})?/[\w.~+-][\w./~+-]*    # a path
    | (?<!\w)[A-Za-z]:\\[\w.\\-]+
    | \b\w+\([^()\s]{0,80}\)                      # a call
    | \b[^\W\d]\w*_\w+\b                          # an identifier
    | \b[a-z]+[A-Z]\w*\b
    | \b\w+(?:\.\w+)*\.(?:py|js|ts|c|cpp|h|java|rb|go|rs|sh|txt|csv|json|ya?ml|toml|xml|html|css|md|exe|dll|so)\b
    | \b\w+(?:\.\w+)*\.(?:zip|pdf|com|org|net|io)\b
    | \b0x[0-9a-fA-F]+\b
    | [=!<>]=|=>|->|&&|\|\||::|\+\+|<<|>>
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


def code(text: str, folded: Sequence[str]) -> set[str]:
    """The pieces of code of a text, as they are written."""
    found = set()
    if _MAYBE.search(text):
        for piece in _PIECES.findall(text):
            piece = " ".join(piece.strip("`").split()).rstrip(".")
            if piece.casefold() not in KNOWN and piece not in ("C++", "++"):
                found.add(piece)
    for at in range(len(folded) - 1):
        if folded[at] in _COMMANDS and folded[at + 1] in _VERBS:
            found.add(f"{folded[at]} {folded[at + 1]}")
    return found
