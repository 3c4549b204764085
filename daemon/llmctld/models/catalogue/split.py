"""A model in several files: `NAME-00001-of-00003.gguf` and its like, as llama.cpp splits them.

It knows names of files, and which of them belong together; what is in them it does not read.
"""

import re
from pathlib import Path

PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE | re.DOTALL)


def whole(name: str) -> str:
    """The name without the number of its part, by which the parts of one model are alike."""
    found = PART.fullmatch(name)
    return f"{found['stem']}.gguf" if found else name


def names(name: str) -> list[str]:
    """Of all parts of the model that this file is a part of, the first one first; a whole model is its only part."""
    found = PART.fullmatch(name)
    if not found or not 1 <= int(found["number"]) <= int(found["count"]):
        return [name]
    return [f"{found['stem']}-{number:05}-of-{found['count']}.gguf" for number in range(1, int(found["count"]) + 1)]


def parts(path: Path) -> list[Path]:
    """The same for a file; whether each is there is for who opens them to see."""
    return [path.with_name(name) for name in names(path.name)]
