"""The log of measurements: a dated table per run, appended to LOG.md with commit and machine, negatives too."""

import datetime
import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.e2e.house import REPOSITORY

LOG = Path(__file__).with_name("LOG.md")
HEAD = """# Measurements
Appended by `make bench` and `make bench-engine`, newest last; what missed its target stays. Times depend on the machine and
on what else runs there: compare ratios, and runs of one day.
"""


def table(rows: Iterable[str]) -> str:
    return "\n".join(["| what | measured | target | |", "|---|---|---|---|", *rows])


def append(text: str, what: str = "") -> None:
    """A section of its own; `what` stands in its heading after the commit."""
    if not LOG.exists():
        LOG.write_text(HEAD, encoding="utf-8")
    with LOG.open("a", encoding="utf-8") as log:
        log.write(f"\n## {datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d %H:%M} UTC, {where()}{what}\n{text}\n")


def where() -> str:
    """Commit and machine, without its name."""
    git = ["git", "-C", str(REPOSITORY)]
    commit = subprocess.run(
        [*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    ).stdout.strip()
    changed = subprocess.run(
        [*git, "status", "--porcelain"], capture_output=True, text=True, check=False
    ).stdout.strip()
    load = os.getloadavg()[0]
    return (
        f"{commit or 'no commit'}{' and changes' if changed else ''}; {platform.system()} {platform.machine()}, "
        f"{os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}"
    )
