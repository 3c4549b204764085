"""A client at a hub that lies: every command ends, with a documented status, and no terminal is controlled.

A hub of another user is sent nothing at all.
"""

import os
from pathlib import Path

from llmctl.errors import ERRORS
from tests.attack.attack import Attack, NotHere, Trial
from tests.attack.hostile_hub import HOSTILE, escapes, hostile_hub
from tests.e2e.house import House, Outcome
from tests.e2e.house import house as a_house
from tests.impostor import OTHER, impostor

COMMANDS = (
    ("ask", "a secret", "-m", "echo"), ("ask", "x", "--json"), ("ask", "x", "-n", "2"), ("ps",), ("ps", "--json"),
    ("cache", "stats"), ("cache", "ls"), ("cache", "show", "k"), ("cache", "audit"), ("models", "load", "echo"),
    ("models", "estimate", "echo"),
    ("models", "add", "new", "echo"), ("embed", "text"), ("daemon", "status"), ("cache", "clear", "--yes"),
)  # fmt: skip
STATUSES = {0, 129, 130, 143, *(error.status for error in ERRORS.values())} - {1}
BUGS = ("Traceback", "a bug of llmctl", "Error:")
MOST_BYTES = 64 * 2**20
"""What a command may print of what a hub sends."""


def lies(trial: Trial) -> None:
    """Any reply to any request."""
    with a_house() as house, hostile_hub(house, trial.dice) as hub:
        for number in range(trial.count):
            hub.answers = trial.dice.choice(HOSTILE)
            command = trial.dice.choice(COMMANDS)
            outcome = house.run(*command)
            told = f"{number}: `{' '.join(command)}` at {hub.answers.__name__}"
            trial.check(outcome.status in STATUSES, f"{told}: status {outcome.status}, {outcome.err.strip()[-400:]}")
            trial.check(not any(bug in outcome.err for bug in BUGS), f"{told}: {outcome.err.strip()[-400:]}")
            trial.check(len(outcome.out) < MOST_BYTES, f"{told}: {len(outcome.out)} bytes of output")


def endless(trial: Trial) -> None:
    """An answer without end, whose hub does not listen to a cancel: a reader that leaves and Ctrl-C end the command."""
    with a_house() as house, hostile_hub(house, trial.dice) as hub:
        hub.endless = True
        for _ in range(trial.count):
            outcome = house.shell("llmctl ask hi -m echo --no-stdin | head -c 1000")
            trial.check(
                (outcome.status, len(outcome.out)) == (0, 1000), f"`| head -c 1000`: {outcome.status}, {outcome.err}"
            )
            command = house.spawn("ask", "hi", "-m", "echo")
            command.first_byte()
            command.interrupt()
            command.interrupt()  # the second one does not wait for the hub
            stopped = command.end()
            trial.check(stopped.status == 130, f"Ctrl-C: status {stopped.status}, {stopped.err[-300:]}")


def sequences(trial: Trial) -> None:
    """What controls a terminal, in every text that a hub sends."""
    with a_house() as house, hostile_hub(house, trial.dice) as hub:
        hub.answers = escapes
        for _ in range(trial.count):
            seen = house.in_terminal("ask", "hi", "-m", "echo", "--reasoning", "show").decode()
            for evil in ("\x1b]0", "\x1b]52", "\x1b[2J", "\x9b", "\u202e"):
                trial.check(evil not in seen, f"{evil!r} reaches the terminal")
            trial.check("\\x1b" in seen, "the answer was not shown at all")


def another_user(trial: Trial) -> None:
    """A program of another user at the socket: nothing is sent to it. It needs root."""
    if os.getuid() != 0:
        raise NotHere("playing another user needs root")
    with a_house() as house:
        run = house.place / "run"
        run.mkdir(parents=True)
        house.home.chmod(0o711)
        run.chmod(0o777)
        with impostor(run / "hub.sock") as other:
            run.chmod(0o700)
            refuse_all(trial, house, other.pid)
            trial.check(other.end() == "", "something was sent to another user")


def refuse_all(trial: Trial, house: House, pid: int) -> None:
    info = Path(house.place, "run", "hub.json")
    info.write_text(f'{{"pid": {pid}, "version": "0.1.0", "protocol": 1, "socket": "x"}}')
    for _ in range(trial.count):
        command = trial.dice.choice(COMMANDS)
        outcome: Outcome = house.run(*command, HF_TOKEN="hf_secret")
        trial.check(
            outcome.status == 3 and f"belongs to user {OTHER}" in outcome.err,
            f"`{' '.join(command)}`: status {outcome.status}, {outcome.err.strip()[-300:]}",
        )


ATTACKS = [
    Attack("a lying hub", 400, lies, part=10),
    Attack("an endless answer", 20, endless),
    Attack("terminal sequences", 20, sequences),
    Attack("a hub of another user", 60, another_user),
]
