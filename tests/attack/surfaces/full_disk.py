"""A home on a disk of a few MiB that fills up: the hub answers on, starts from cold, and can be told to make room.

It needs root, to mount that disk.
"""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.attack.attack import Attack, NotHere, Trial
from tests.e2e.house import House
from tests.e2e.house import house as a_house

SIZE = "8m"
LETTERS = 60_000
ALLOWED = {0, 14}
"""Answered and recorded; or the disk refused to record it."""


@contextmanager
def small_disk(place: Path) -> Iterator[None]:
    """A file system of SIZE at `place`."""
    if os.getuid() != 0:
        raise NotHere("mounting a small disk needs root")
    place.mkdir(mode=0o700)
    line = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=700", "tmpfs", str(place)]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotHere(f"mounting a small disk is not allowed: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def filled(folder: Path) -> Path:
    """A file that takes all the room that is left."""
    path = folder / "other-program"
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return path


def full_disk(trial: Trial) -> None:
    with a_house() as house, small_disk(house.place):
        try:
            house.echo(context=4 * LETTERS)
            for number in range(trial.count):  # some of them find the disk full
                asked(trial, house, f"{number} {'x' * trial.dice.randrange(LETTERS)}")
            other = filled(house.place)
            asked(trial, house, "a full disk")
            house.run("daemon", "stop", "--timeout", "1s")
            cold = house.run("ask", "from cold", "-m", "echo")
            trial.check(cold.status in ALLOWED and cold.out == "from cold\n", f"from cold: {cold}")
            cleared = house.run("cache", "clear", "--yes")
            trial.check(cleared.status == 0, f"cache clear: {cleared}")
            other.unlink()
            again = house.run("ask", "room again", "-m", "echo")
            trial.check((again.status, again.out) == (0, "room again\n"), f"with room: {again}")
            log = house.log.read_text(errors="replace") if house.log.exists() else ""
            trial.check("failed unexpectedly" not in log, "a request failed unexpectedly")
        finally:
            house.run("daemon", "stop", "--timeout", "1s")
            house.ended()


def asked(trial: Trial, house: House, text: str) -> None:
    outcome = house.run("ask", text, "-m", "echo", "--max-tokens", str(2 * LETTERS))
    right = outcome.status in ALLOWED and (outcome.status != 0 or outcome.out == text + "\n")
    trial.check(right and "Traceback" not in outcome.err, f"status {outcome.status}: {outcome.err.strip()[-300:]}")


ATTACKS = [Attack("a full disk", 200, full_disk, part=4)]
