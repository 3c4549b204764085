"""The files of a home: whatever happened to them, the hub starts on them, no command ends in a bug, and every loss is told.

What was left alone is still there.
"""

import json
import sqlite3
import tempfile
from contextlib import suppress
from pathlib import Path

from tests import tiny_gguf
from tests.attack import torn
from tests.attack.attack import Attack, Trial
from tests.e2e.house import House
from tests.e2e.house import house as a_house

COMMANDS = (
    ("ask", torn.question(1), "-m", "echo", "--tag", "t1"),
    ("ask", "something new", "-m", "echo"),
    ("cache", "stats"),
    ("models", "ls"),
    ("templates", "ls"),
)
BUGS = ("Traceback", "a bug of llmctl", "a request failed unexpectedly", "unexpected")
STORES = {
    "state/history.db", "cache/cache.db", "cache/answers/cache.db", "cache/prefetch.db", "cache/learned.json", "models/echo.json",
    "models/other.json", "models/tiny.json",
}  # fmt: skip
DESTROYS = {"emptied", "made_a_folder", "made_a_loop", "unreadable"}
"""Nothing of the content is left. A file that is removed leaves no trace either, so nobody can tell."""


def torn_homes(trial: Trial) -> None:
    with a_house() as source, tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "tiny.gguf")
        tiny_gguf.write(model, seed=7, context=512)
        torn.fill(source, model)
        for number in range(trial.count):
            with a_house() as house:
                torn.copied_in_use(source, house.place, trial.dice)
                happened = torn.tear(house.place, trial.dice)
                for flaw in flaws(house, happened):
                    trial.check(False, f"home {number} {json.dumps(happened)}: {flaw}")


def flaws(house: House, happened: dict[str, str]) -> list[str]:
    """What is wrong with how the torn home is treated."""
    found, said = list[str](), ""
    for command in COMMANDS:
        outcome = torn.run(house, *command)
        said += outcome.err
        if outcome.status not in allowed(command, happened):
            found.append(f"`{' '.join(command)}` ends with {outcome.status}: {outcome.err.strip()[-300:]}")
        elif command[0] == "ask" and outcome.status == 0 and outcome.out != command[1] + "\n":
            found.append(f"a wrong answer: {outcome.out[:100]!r}")
    log = logged(house)
    torn.run(house, "daemon", "stop", "--timeout", "1s")
    found += [f"{bug!r} in {where}" for bug in BUGS for where, text in (("stderr", said), ("log", log)) if bug in text]
    doctor = ""
    for name in lost(house, happened):
        doctor = doctor or torn.run(house, "daemon", "doctor").out
        if not any(told(name, text) for text in (said, log, doctor)):
            found.append(f"nobody tells that {name} was {happened[name]}")
    return found


def allowed(command: tuple[str, ...], happened: dict[str, str]) -> set[int]:
    """0; and what a file of the user's means to a command that needs it: 2 for the configuration, 4 for the model."""
    statuses = {0}
    if "config.toml" in happened:
        statuses.add(2)
    if command[0] == "ask" and "models/echo.json" in happened:
        statuses.add(4)
    return statuses


def lost(house: House, happened: dict[str, str]) -> list[str]:
    """The torn files whose content is certainly gone, but for those that were simply removed."""
    if happened.get("config.toml") in DESTROYS - {
        "emptied"
    }:  # no hub starts before that is mended, so only that is told
        return ["config.toml"]
    gone = [name for name, how in happened.items() if name in STORES and how in DESTROYS]
    history = happened.get("state/history.db")
    if history and history != "removed" and kept(house) < torn.KEPT:
        gone.append("state/history.db")
    return sorted(set(gone))


def kept(house: House) -> int:
    """How many of the settled questions the history still has."""
    questions = {torn.question(number) for number in range(torn.KEPT)}
    with suppress(sqlite3.Error):
        return len({row["prompt"] for row in house.records("prompt")} & questions)
    return 0


def told(name: str, text: str) -> bool:
    """A file is told by its own name; one of a folder that is set aside as a whole, by the folder's."""
    return Path(name).name in text or f"{Path(name).parent.name}" in text


def logged(house: House) -> str:
    return "".join(path.read_text(errors="replace") for path in house.log.parent.glob("hub.*") if path.is_file())


ATTACKS = [Attack("torn homes", 500, torn_homes, part=3)]
