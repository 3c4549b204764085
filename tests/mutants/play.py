"""Runs the feeders of mutants in a process of their own, for the attacks; what they report becomes what the attack reports.

It knows their command lines and their lines of JSON.
"""

import atexit
import json
import subprocess
import sys
from functools import cache

from tests import tiny_gguf
from tests.attack.attack import Trial
from tests.e2e.house import REPOSITORY, House
from tests.mutants.user_files import KINDS, Outcome, commands_for, flaw_of, written


@cache
def shared() -> House:
    """A home for all kinds, with the models that the feeders want. It is closed when this process ends."""
    made = House()
    atexit.register(made.close)
    good = made.home / "good.gguf"
    tiny_gguf.write(good, context=256)
    made.echo()
    for name in ("tiny", "other"):
        made.ok("models", "add", name, good)
    return made


def fed(home: House, feeder: str, kind: str, trial: Trial, *more: str) -> None:
    """Feeds `trial.count` mutants of a kind to the commands in this home. `more`: further arguments of the feeder."""
    seed = trial.dice.randrange(2**32)
    command = [sys.executable, "-m", f"tests.mutants.{feeder}", kind, str(trial.count), str(seed), *more]
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=home.environ(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:  # fmt: skip
        out, err = process.communicate()
    lines = [json.loads(line) for line in out.splitlines()]
    if process.returncode not in (0, 1) or not lines or "mutants" not in lines[-1]:
        raise AssertionError(
            f"the feeder ended with status {process.returncode}: {err.decode(errors='replace')[-1000:]}"
        )
    for line in lines[:-1]:
        trial.check(
            False,
            f"{kind} {line['number']} of seed {seed} ({line['changes']}): {line.get('command', '')}: {line['flaw']}",
        )
    trial.measured.append(", ".join(f"{name} {times}" for name, times in lines[-1]["statuses"].items()))


def sampled(home: House, kind: str, trial: Trial) -> None:
    """A few of the same kind through the installed command, one in two hundred."""
    fed_with, seed = KINDS[kind], trial.dice.randrange(2**32)
    file = home.place / fed_with.file
    file.parent.mkdir(exist_ok=True)
    for number in range(max(1, trial.count // 200)):
        changes = written(fed_with, kind, seed, number, file)
        for arguments in commands_for(fed_with, file):
            ended = home.run(*arguments)
            bad = flaw_of(fed_with, arguments, Outcome(ended.status, ended.out, ended.err))
            trial.check(not bad, f"{kind} {number} of seed {seed} ({changes}): {arguments}: {bad}")
