"""A home in use, copies of it, and what happens to files: cut, overwritten, emptied, removed, made a folder or unreadable.

It knows files, not what llmctl makes of them.
"""

import ctypes
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from llmctl import wire
from tests.e2e.dealer import Dealer
from tests.e2e.house import LLMCTL, PATIENCE_S, House, Outcome

PAGE = 4096
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 24, 1, 2
"""linux/prctl.h, linux/capability.h"""
KEPT = 24
"""Questions that are answered before the first copy."""
SIMILAR = 3
"""Of those, questions that the semantic cache looks at."""
CONFIGURATION = "[cache.prefetch]\nenabled = true\n"
TEMPLATES = ("short", "long")


def question(number: int) -> str:
    return f"question {number}: which files are kept"


def fill(house: House, small_model: Path) -> None:
    """Fills a home with everything that llmctl keeps. Its hub runs on."""
    house.place.mkdir(mode=0o700)
    (house.place / "config.toml").write_text(CONFIGURATION)
    house.echo().echo("other")
    house.ok("models", "add", "tiny", small_model)
    for name in TEMPLATES:
        house.ok("ask", f"a {name} one", "--save", name)
    with Dealer(house.socket) as dealer:
        for number in range(KEPT):
            reply = dealer.ask(asked(number, semantic=number < SIMILAR))
            assert isinstance(reply, wire.Done), reply
        dealer.ask(wire.Generate(prompt="once", model="tiny", max_tokens=2))


def asked(number: int, semantic: bool = False) -> wire.Generate:
    conversation = f"trip-{number % 4}" if number % 3 == 0 else None
    tags = [f"t{number % 2}"]
    return wire.Generate(
        prompt=question(number), model="echo", tags=tags, conversation=conversation, semantic=semantic or None
    )


def copied_in_use(house: House, to: Path, dice: random.Random) -> None:
    """Copies the home while its hub computes and stores answers."""
    with Dealer(house.socket) as dealer:
        unanswered = {dealer.send(asked(dice.randrange(KEPT, 10**9))) for _ in range(20)}
        copied(house.place, to)
        while unanswered:
            identity, body = dealer.receive_frames()
            if isinstance(wire.decode_reply(body), wire.FINAL):
                unanswered.discard(identity)


def copied(home: Path, to: Path) -> None:
    """Everything but the socket. Files that vanish meanwhile are left out."""
    to.mkdir(mode=0o700)
    for folder, folders, files in os.walk(home):
        here = to / Path(folder).relative_to(home)
        for name in folders:
            (here / name).mkdir(mode=0o700)
        for name in files:
            source = Path(folder, name)
            if source.is_file() and not source.is_symlink():
                try:
                    shutil.copy(source, here / name)
                except FileNotFoundError:
                    continue


# ---- what happens to a file -----------------------------------------------------------------------------------------


def cut(path: Path, dice: random.Random) -> None:
    os.truncate(path, dice.randrange(max(1, path.stat().st_size)))


def overwritten(path: Path, dice: random.Random) -> None:
    """Up to three pages with chance, or zeros."""
    with path.open("r+b") as file:
        for _ in range(dice.randrange(1, 4)):
            file.seek(dice.randrange(path.stat().st_size // PAGE + 1) * PAGE)
            file.write(dice.choice([dice.randbytes(PAGE), bytes(PAGE)]))


def changed(path: Path, dice: random.Random) -> None:
    """A few bytes."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        for _ in range(dice.randrange(1, 6)):
            file.seek(dice.randrange(size) if size else 0)
            file.write(dice.randbytes(1))


def longer(path: Path, dice: random.Random) -> None:
    with path.open("ab") as file:
        file.write(dice.randbytes(dice.randrange(1, PAGE)))


def emptied(path: Path, dice: random.Random) -> None:
    os.truncate(path, 0)


def removed(path: Path, dice: random.Random) -> None:
    path.unlink()


def made_a_folder(path: Path, dice: random.Random) -> None:
    path.unlink()
    path.mkdir()


def made_a_loop(path: Path, dice: random.Random) -> None:
    """A link to itself."""
    path.unlink()
    path.symlink_to(path.name)


def unreadable(path: Path, dice: random.Random) -> None:
    path.chmod(0)


TEARS: list[Callable[[Path, random.Random], None]] = [
    cut, cut, overwritten, overwritten, changed, longer, emptied, removed, made_a_folder, made_a_loop, unreadable,
]  # fmt: skip


def tear(home: Path, dice: random.Random) -> dict[str, str]:
    """Tears up to four files: name within the home -> what happened to it."""
    files = sorted(path for path in home.rglob("*") if path.is_file())
    torn = dict[str, str]()
    for path in dice.sample(files, dice.randrange(1, 5)):
        how = dice.choice(TEARS)
        how(path, dice)
        torn[str(path.relative_to(home))] = how.__name__
    return torn


# ---- commands whose root is stopped by modes ------------------------------------------------------------------------


def without_override() -> None:
    """For a child: as root it would read files of mode 000, so it gives up that capability."""
    if os.getuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in (CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)


def run(house: House, *arguments: str) -> Outcome:
    done = subprocess.run(
        [str(LLMCTL), *arguments], capture_output=True, env=house.environ(), cwd=house.home, timeout=PATIENCE_S,
        stdin=subprocess.DEVNULL, preexec_fn=without_override, check=False,
    )  # fmt: skip
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())
