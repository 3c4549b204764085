"""The files that the program writes itself: `python -m tests.meta.generate [--check]`.

`--check` writes nothing and names each file that is not as it would be written, with status 1.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from llmctl import example
from llmctl.cli.setup import completion
from tests.meta import protocol

ROOT = Path(__file__).resolve().parents[2]

FILES: dict[str, Callable[[], str]] = {
    "config.example.toml": example.text,
    "completions/llmctl.bash": lambda: completion.script("bash"),
    "completions/_llmctl": lambda: completion.script("zsh"),
    "completions/llmctl.fish": lambda: completion.script("fish"),
    "daemon/PROTOCOL.md": lambda: protocol.text((ROOT / "daemon" / "PROTOCOL.md").read_text(encoding="utf-8")),
}


def stale() -> list[str]:
    """Files that are missing or differ from what would be written."""
    return [
        name
        for name, text in FILES.items()
        if not (ROOT / name).exists() or (ROOT / name).read_text(encoding="utf-8") != text()
    ]


def main(arguments: list[str]) -> int:
    found = stale()
    if "--check" in arguments:
        for name in found:
            print(f"{name} is not fresh: `make generate` writes it", file=sys.stderr)
        return 1 if found else 0
    for name in found:
        (ROOT / name).parent.mkdir(exist_ok=True)
        (ROOT / name).write_text(FILES[name](), encoding="utf-8")
        print(f"wrote {name}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
