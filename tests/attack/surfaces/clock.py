"""A wall clock that jumps by up to twenty years, back and forth, under a running hub: answers stay right, and nothing fails.

It needs a C compiler, for a library that is loaded into every process of the home (clock.c).
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.attack.attack import Attack, NotHere, Trial
from tests.e2e.house import House
from tests.e2e.house import house as a_house

SOURCE = Path(__file__).parents[1] / "clock.c"
YEARS_S = 20 * 365 * 86_400
COMMANDS = (("cache", "stats"), ("cache", "ls"), ("ps",), ("models", "ls"))


def built(folder: Path) -> Path:
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        raise NotHere("a clock that jumps needs Linux and a C compiler")
    library = folder / "clock.so"
    line = [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotHere(f"the library for a clock that jumps was not built: {done.stderr.strip()[:200]}")
    return library


def jumps(trial: Trial) -> None:
    with tempfile.TemporaryDirectory() as folder, a_house() as house:
        offset = Path(folder, "offset")
        offset.write_text("0")
        house.variables |= {"LD_PRELOAD": str(built(Path(folder))), "LLMCTL_TEST_CLOCK": str(offset)}
        must_jump(house, offset)
        house.echo()
        house.ok("ask", "stored", "-m", "echo")
        pid = house.hub().pid
        for number in range(trial.count):
            offset.write_text(str(trial.dice.choice([0, YEARS_S, -YEARS_S, trial.dice.randint(-YEARS_S, YEARS_S)])))
            for text in ("stored", f"new {number}"):
                right(trial, house, text)
            command = trial.dice.choice(COMMANDS)
            outcome = house.run(*command)
            trial.check(outcome.status == 0, f"`{' '.join(command)}` at {offset.read_text()} s: {outcome}")
        offset.write_text("0")
        right(trial, house, "stored")
        trial.check(house.hub().pid == pid, "the hub was started again")
        trial.check("failed unexpectedly" not in house.log.read_text(), "a request failed unexpectedly")


def must_jump(house: House, offset: Path) -> None:
    """Raises AssertionError if the library does not reach processes of this home."""
    years = []
    for seconds in (0, YEARS_S):
        offset.write_text(str(seconds))
        line = [sys.executable, "-c", "import time; print(time.gmtime().tm_year)"]
        years.append(int(subprocess.run(line, env=house.environ(), capture_output=True, check=True).stdout))
    offset.write_text("0")
    assert 19 <= years[1] - years[0] <= 20, years


def right(trial: Trial, house: House, text: str) -> None:
    outcome = house.run("ask", text, "-m", "echo")
    trial.check((outcome.status, outcome.out) == (0, text + "\n"), f"`ask {text}`: {outcome}")


ATTACKS = [Attack("jumps of the clock", 60, jumps)]
