"""Feeds mutants of model files to a running hub through the commands:

`python -m tests.mutants.model_files KIND COUNT SEED [ASKED]`, with LLMCTL_HOME set and the sound model `tiny` added there. After
each mutant the hub has to be the same process, and the sound model has to answer. One in ASKED is loaded and asked, of 0 none.

It knows commands and their exit statuses, not how a model file is read.
"""

import json
import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from llmctl import Client, wire
from llmctl.errors import LlmctlError
from tests import odd_gguf, tiny_gguf
from tests.mutants import folders, gguf_fields
from tests.mutants.reported import REPORTS
from tests.mutants.user_files import Outcome, ended, report, run, wrong

STATUSES = frozenset({0, 2, 4, 5, 7, 9})
QUESTION = ("hello", "--max-tokens", "3", "--temperature", "0", "--no-stdin", "--no-cache", "--timeout", "120s", "-q")
ADD = ("models", "add", "mutant", "{file}", "--force", "-q")
LOOK = (
    ("models", "show", "mutant"),
    ("models", "estimate", "mutant"),
    ("models", "estimate", "{file}"),
    ("models", "ls"),
)
ASK = ("ask", *QUESTION, "-m", "mutant")
SOUND = ("ask", *QUESTION, "-m", "tiny")


class Kind(NamedTuple):
    """`make` writes the sound files into a folder; `mutate` writes a mutant of one of them. `ask` follows `add` and the looks."""

    make: Callable[[Path], Sequence[Path]]
    mutate: Callable[[random.Random, Path, Path, int], str]
    add: Sequence[str] = ADD
    ask: Sequence[str] = ASK


def made_gguf(folder: Path) -> list[Path]:
    files = [folder / name for name in ("spm.gguf", "bpe.gguf", "window.gguf", "recurrent.gguf")]
    tiny_gguf.write(files[0], chat_template=tiny_gguf.CHAT_TEMPLATE, context=256)
    tiny_gguf.write(files[1], vocabulary_type="gpt2", chat_template=tiny_gguf.CHAT_TEMPLATE, context=256)
    odd_gguf.sliding(files[2], context=256)
    odd_gguf.recurrent(files[3])
    return files


def made_adapter(folder: Path) -> list[Path]:
    odd_gguf.lora(folder / "adapter.gguf")
    return [folder / "adapter.gguf"]


def made_folder(folder: Path) -> list[Path]:
    return [folders.write(folder / "llama")]


def mutate_gguf(dice: random.Random, sound: Path, out: Path, number: int) -> str:
    words, data = gguf_fields.mutant(dice, sound.read_bytes())
    out.write_bytes(data)
    if dice.random() < 0.05:
        with out.open("r+b") as stream:
            stream.truncate(2**40)
        words += "; sparse"
    return words


def mutate_reported(dice: random.Random, sound: Path, out: Path, number: int) -> str:
    words = list(REPORTS)[number % len(REPORTS)]
    fields = gguf_fields.Reader(sound.read_bytes()).all()
    REPORTS[words](fields)
    out.write_bytes(gguf_fields.joined(fields))
    return words


def mutate_folder(names: Sequence[str], dice: random.Random, sound: Path, out: Path, number: int) -> str:
    return folders.mutated(dice, sound, out, names)


DRAFTED = ("models", "add", "mutant", "{good}", "--force", "-q", "--set", "draft={file}")
BESIDE = ("models", "set", "other", 'adapters={{"a": "{file}"}}')
KINDS = {
    "gguf": Kind(made_gguf, mutate_gguf),
    "reported": Kind(lambda folder: made_gguf(folder)[:1], mutate_reported),
    "adapter": Kind(made_adapter, mutate_gguf, BESIDE, ("ask", *QUESTION, "-m", "other", "--adapter", "a")),
    "draft": Kind(
        lambda folder: made_gguf(folder)[:1], mutate_gguf, DRAFTED
    ),
    "safetensors": Kind(made_folder, partial(mutate_folder, (folders.CONFIG, folders.WEIGHTS))),
    "tokenizer": Kind(made_folder, partial(mutate_folder, (folders.WORDS, folders.WORDS_CONFIG))),
}  # fmt: skip


class Feeder:
    """One kind's mutants in one home."""

    def __init__(self, name: str, seed: int, asked: int) -> None:
        self.name, self.kind, self.seed, self.asked = name, KINDS[name], seed, asked
        self.home = Path(os.environ["LLMCTL_HOME"])
        self.work = Path(tempfile.mkdtemp(prefix=f"mutants-{name}-", dir=self.home))
        self.sound = self.kind.make(self.work)
        self.statuses: Counter[str] = Counter()
        self.flaws = 0

    def feed(self, number: int) -> None:
        dice = random.Random(f"{self.name} {self.seed} {number}")
        file = self.work / f"mutant-{number}.gguf"
        hub = self.hub()
        words = self.kind.mutate(dice, dice.choice(self.sound), file, number)
        bad = [*self.described(file), *self.used(file, self.asked > 0 and number % self.asked == 0)]
        sound = ended(SOUND)
        if sound is None or sound.status:
            bad.append(f"afterwards the sound model: {sound}")
        if self.hub() != hub:
            bad.append("the hub is another process")
        for flaw in bad:
            self.flaws += 1
            report(flaw=flaw, number=number, changes=words, kept=str(file))
        if not bad:
            shutil.rmtree(file) if file.is_dir() else file.unlink()

    def hub(self) -> int:
        pid: int = json.loads((self.home / "run" / "hub.json").read_text())["pid"]
        return pid

    def described(self, file: Path) -> list[str]:
        """As `models find` asks the hub."""
        try:
            with Client() as client:
                client.call(wire.DescribeFiles(paths=[str(file)]))
        except LlmctlError as error:
            return [f"described: {error}"]
        return []

    def used(self, file: Path, asked: bool) -> list[str]:
        bad = []
        for line in (self.kind.add, *LOOK, *([self.kind.ask] if asked else [])):
            arguments = [part.format(file=file, good=self.sound[0]) for part in line]
            outcome = ended(arguments)
            what = arguments[0] if arguments[0] == "ask" else arguments[1]
            self.statuses[f"{what} {outcome.status if outcome else 'hangs'}"] += 1
            if outcome is None:
                bad.append(f"{arguments}: no end")
            elif flaw := self.flaw(outcome):
                bad.append(f"{arguments}: {flaw}")
            if line is self.kind.add and (outcome is None or outcome.status):
                break
        return bad

    def flaw(self, outcome: Outcome) -> str:
        return wrong(outcome, STATUSES, "")


def main() -> int:
    name, count, seed = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    os.environ["LLMCTL_DEBUG"] = "1"
    run(("models", "load", "tiny", "-q"))
    feeder = Feeder(name, seed, int(sys.argv[4]) if len(sys.argv) > 4 else 1)
    for number in range(count):
        feeder.feed(number)
    report(kind=name, mutants=count, flaws=feeder.flaws, statuses=dict(sorted(feeder.statuses.items())))
    return 1 if feeder.flaws else 0


if __name__ == "__main__":
    sys.exit(main())
