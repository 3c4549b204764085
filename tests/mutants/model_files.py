"""Feeds mutants of model files to a running hub through the commands:

`python -m tests.mutants.model_files KIND COUNT SEED`,
with LLMCTL_HOME set and the sound model `tiny` added there. After each mutant
the hub has to be the same process, and the sound model has to answer.

It knows commands and their exit statuses, not how a model file is read.
"""

import json
import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from tests import odd_gguf, tiny_gguf
from tests.mutants import gguf_fields
from tests.mutants.user_files import Kind as Commands
from tests.mutants.user_files import flaw, report, run

Mutate = Callable[[random.Random, Path, Path], str]
ADD = ("models", "add", "mutant", "{file}", "--force", "-q")
ASK = (
    "ask",
    "hello",
    "-m",
    "{model}",
    "--max-tokens",
    "3",
    "--temperature",
    "0",
    "--no-stdin",
    "--no-cache",
    "--timeout",
    "60s",
    "-q",
)
LOOK = (
    ("models", "show", "mutant"),
    ("models", "estimate", "mutant"),
    ("models", "estimate", "{file}"),
    ("models", "ls"),
)
STATUSES = frozenset({0, 2, 4, 5, 7, 8, 9})


class Kind(NamedTuple):
    """`make` writes the sound files into a folder; `mutate` writes a mutant of one of them; `add` and `ask` are commands."""

    make: Callable[[Path], Sequence[Path]]
    mutate: Mutate
    add: Sequence[str] = ADD
    ask: Sequence[str] = ASK
    sound: str = "tiny"


def made_gguf(folder: Path) -> list[Path]:
    files = [folder / name for name in ("spm.gguf", "bpe.gguf", "window.gguf", "recurrent.gguf", "embedding.gguf")]
    tiny_gguf.write(files[0], chat_template=tiny_gguf.CHAT_TEMPLATE, context=256)
    tiny_gguf.write(files[1], vocabulary_type="gpt2", chat_template=tiny_gguf.CHAT_TEMPLATE, context=256)
    odd_gguf.sliding(files[2], context=256)
    odd_gguf.recurrent(files[3])
    return files[:4]


def mutate_gguf(dice: random.Random, file: Path, out: Path) -> str:
    words, data = gguf_fields.mutant(dice, file.read_bytes())
    out.write_bytes(data)
    if dice.random() < 0.05:
        with out.open("r+b") as stream:
            stream.truncate(2**40)
        words += "; sparse"
    return words


KINDS = {"gguf": Kind(made_gguf, mutate_gguf)}


def main() -> int:
    name, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    kind, home = KINDS[name], Path(os.environ["LLMCTL_HOME"])
    os.environ["LLMCTL_DEBUG"] = "1"
    work = Path(tempfile.mkdtemp(dir=home))
    files = kind.make(work)
    hub = json.loads((home / "run" / "hub.json").read_text())["pid"]
    commands = Commands(None, list, "mutant", (), STATUSES)  # type: ignore[arg-type]
    statuses: Counter[str] = Counter()
    flaws = 0
    for number in range(count):
        dice = random.Random(f"{name} {seed} {number}")
        file = work / f"mutant-{number}.gguf"
        words = kind.mutate(dice, dice.choice(files), file)
        lines = [kind.add, *LOOK, kind.ask]
        for line in lines:
            arguments = [part.format(file=file, model="mutant") for part in line]
            begun = time.monotonic()
            status, bad = flaw(commands, arguments)
            statuses[f"{arguments[0]} {arguments[1] if arguments[0] == 'models' else ''} {status}"] += 1
            if bad or time.monotonic() - begun > 20:
                flaws += bool(bad)
                report(
                    number=number,
                    changes=words,
                    command=arguments,
                    took=time.monotonic() - begun,
                    flaw=bad[-900:],
                    kept=str(file),
                )
            if line is kind.add and status:
                break
        sound = run([part.format(model=kind.sound) for part in ASK])
        if sound.status or json.loads((home / "run" / "hub.json").read_text())["pid"] != hub:
            flaws += 1
            report(number=number, changes=words, flaw=f"a sound model: {sound}", kept=str(file))
            hub = json.loads((home / "run" / "hub.json").read_text())["pid"]
        elif flaws == 0:
            file.unlink(missing_ok=True)
    report(kind=name, mutants=count, flaws=flaws, statuses=dict(sorted(statuses.items())))
    return 1 if flaws else 0


if __name__ == "__main__":
    sys.exit(main())
