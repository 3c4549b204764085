"""Split models: `NAME-00001-of-00003.gguf` and so on, as llama.cpp writes them.

Knows file names only.
"""

import re
from pathlib import Path

PART = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.IGNORECASE | re.DOTALL)


def whole(name: str) -> str:
    """The file name without the part number, the same for all parts of a model."""
    found = PART.fullmatch(name)
    return f"{found['stem']}.gguf" if found else name


def names(name: str) -> list[str]:
    """The names of all parts of the model, first part first; of a whole model its own name."""
    found = PART.fullmatch(name)
    if not found or not 1 <= int(found["number"]) <= int(found["count"]):
        return [name]
    return [f"{found['stem']}-{number:05}-of-{found['count']}.gguf" for number in range(1, int(found["count"]) + 1)]


def parts(path: Path) -> list[Path]:
    """The paths of all parts, which need not exist."""
    return [path.with_name(name) for name in names(path.name)]
