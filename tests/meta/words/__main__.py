"""`python -m tests.meta.words [cldr|wordnet]`: writes the generated word tables of the semantic cache.

It needs Babel 2.19 (CLDR) and Debian's wordnet-base, and is run once for a new version of either: the files are committed, with
the licences of what they were taken from. Hand-written tables come first: a name that they have is not taken again.
"""

import sys
from collections.abc import Callable

from llmctld.semantic.words import tables

from tests.meta.words.from_cldr import cldr
from tests.meta.words.from_wordnet import wordnet
from tests.meta.words.wordnet import WordNet

FILES: dict[str, Callable[[WordNet], str]] = {"cldr": cldr, "wordnet": wordnet}


if __name__ == "__main__":
    for name in sys.argv[1:] or FILES:
        path = tables.FOLDER / f"{name}.txt"
        path.write_text(FILES[name](WordNet()), encoding="utf-8")
        print(f"wrote {path}", file=sys.stderr)
