"""`python -m tests.pythons [3.10 newest ...]`: builds the package and tries eleven commands in each Python that is here.

Environments stay in `.pythons`, so that the next time is short. The last lines say what was tried where.
"""

import sys
import time
from pathlib import Path

from tests.pythons import install, interpreters, smoke

PLACE = Path(".pythons").absolute()


def main(names: list[str]) -> int:
    found = interpreters.chosen(names)
    if not found:
        say(f"no Python of {', '.join(names or interpreters.VERSIONS)} is here: nothing was tried")
        return 0
    say(f"Pythons here: {', '.join(f'{name} ({path})' for name, path in found.items())}")
    wheel = install.build(PLACE / "wheels")
    failed = [version for version, python in found.items() if not tried(version, python, wheel)]
    say(f"{'failed: ' + ', '.join(failed) if failed else 'passed'}, of {', '.join(found)}")
    return 1 if failed else 0


def tried(version: str, python: Path, wheel: Path) -> bool:
    """Whether every command did what it should."""
    start = time.monotonic()
    installed = install.install(python, PLACE / version, wheel, version)
    without = "" if installed.torch else "; without torch, whose only build for it here is the one for CUDA"
    say(f"\nPython {version}: installed in {time.monotonic() - start:.0f} s{without}")
    right = True
    for name, words, good in smoke.smoke(installed):
        say(f"  {'ok  ' if good else 'FAIL'} {name:<13} {words}")
        right = right and good
    return right


def say(words: str) -> None:
    print(words, flush=True)  # noqa: T201 - this is its output


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
