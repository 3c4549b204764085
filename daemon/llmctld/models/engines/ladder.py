"""Remembers on which rung each model loads, from crashes, for each build of the library, processor and kind of file.

A rung is a set of features of the library (engine/llama/internals/rungs.py). Stores what it learns in a file; crashes
are reported to it.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from llmctl.errors import ModelUnavailable
from llmctl.hashes import FileIdentity
from llmctl.regular import read_json
from llmctld.engine.llama.internals.rungs import LADDER, NAMES, Rung
from llmctld.models.engines.mapped_files import changed, identities_of
from llmctld.models.machine.build import build, processor
from llmctld.runtime.log import log
from llmctld.storage.loss import LossRule
from llmctld.storage.state_file import StateFile

AGAIN_S = 86400.0
"""After this time a rung is tried again on which an engine crashed during a request; a crash during a load is no
accident.
"""
MOST = 256
"""Limit for each stored list; the oldest entries go."""
ADVICE = {
    "SIGILL": "SIGILL: llama.cpp was built for a newer processor than this one. ",
    "NaN": "NaN: the model computes invalid numbers; its file may be damaged, download it again. ",
    "SIGBUS": "SIGBUS: the file cannot be read; the disk may be failing. ",
}
"""Cause -> explanation if every rung ends with it."""
REPAIR = "`llmctl daemon doctor` shows which kernels are broken and how to rebuild the library."


class FileKind(NamedTuple):
    """The kind of a model file. A crash on the first rung only is blamed on the kernels for these `types` of tensors,
    a deeper one on the `architecture` as well.
    """

    types: str
    architecture: str = ""

    @property
    def names(self) -> tuple[str, str]:
        return self.types, f"{self.architecture}: {self.types}"

    def blamed(self, falls: "list[FailedRung]") -> str:
        return self.names[0] if {fall.rung for fall in falls} <= {LADDER[0].name} else self.names[1]


class FailedRung(msgspec.Struct):
    """A rung that does not work: an engine died on it with `cause`, a signal's name, or computed NaN.

    `stays`: valid until the library changes.
    """

    rung: str
    cause: str
    at: float = 0.0
    stays: bool = True


class KnownFalls(msgspec.Struct):
    """Rungs that do not work with one build and processor. `of`: a kind of file, or a model's files and settings."""

    build: str
    processor: str
    of: str
    falls: list[FailedRung]


class LadderState(msgspec.Struct):
    """The stored file. `kinds`: per kind of file; `dead`: models that work on no rung."""

    kinds: list[KnownFalls] = []
    dead: list[KnownFalls] = []


class Ladder:
    """What is known about all models. `descent` is the view of one load."""

    def __init__(self, file: Path, tell: Callable[[str], None] | None = None) -> None:
        """`tell` takes notices about the file; None: for one who only looks, and leaves a damaged file where it is."""
        self._processor = processor()
        rule = LossRule("the file of crashes", tell or log.warning, "crashes are learned again", "it is written again")
        self.file = StateFile(file, rule, lambda: msgspec.json.encode(self._learned))
        self._learned = self._read(tell is not None)
        self.suspected: dict[str, list[FailedRung]] = {}
        """Model -> crashes during requests, not yet confirmed by an answer on a lower rung."""
        self.spent: set[str] = set()
        """Models whose requests crashed every rung, so that the rungs are not to blame."""

    def descent(self, name: str, model: str, kind: FileKind, paths: Sequence[Path]) -> "Descent":
        """`model`: identity of its files, and its settings. Raises ModelUnavailable if it worked on no rung the last
        time.
        """
        here = build()
        for known in self._kept(self._learned.dead, here, model):
            if all(_holds(fall) for fall in known.falls):
                raise dead(name, known.falls)
        learned = [known for of in kind.names for known in self._kept(self._learned.kinds, here, of)]
        falls = [*self.suspected.get(model, []), *(fall for known in learned for fall in known.falls if _holds(fall))]
        above = sorted({fall.rung: fall for fall in falls}.values(), key=_place)
        return Descent(self, name, model, kind, here, above, identities_of(paths))

    def retry(self, model: str) -> None:
        """Forgets that the model works on no rung."""
        self.spent.discard(model)
        if any(each.of == model for each in self._learned.dead):
            self._learned.dead = [each for each in self._learned.dead if each.of != model]
            self._write()

    def here(self) -> list[KnownFalls]:
        """What is known for the installed library and this processor."""
        now = build()
        return [it for it in self._learned.kinds if (it.build, it.processor) == (now, self._processor) and it.falls]

    def learn(self, build: str, of: str, falls: list[FailedRung], *, all_dead: bool = False) -> None:
        """Stores the crashes. Entries for other builds on this processor are dropped."""
        kept = self._learned.dead if all_dead else self._learned.kinds
        kept.append(KnownFalls(build, self._processor, of, falls))
        for each in (self._learned.kinds, self._learned.dead):
            last = {(known.build, known.processor, known.of): known for known in each}
            each[:] = [it for it in last.values() if it.processor != self._processor or it.build == build][-MOST:]
        self._write()

    def doubt(self, build: str, of: str) -> None:
        """Drops what was learned from crashes during requests for this kind of file."""
        for each in self._kept(self._learned.kinds, build, of):
            each.falls = [fall for fall in each.falls if fall.stays]
            self._write()

    def _kept(self, kept: list[KnownFalls], build: str, of: str) -> list[KnownFalls]:
        """The matching entry, if any."""
        return [each for each in kept if (each.build, each.processor, each.of) == (build, self._processor, of)]

    def _read(self, tells: bool) -> LadderState:
        try:
            return read_json(self.file.path, LadderState)
        except FileNotFoundError:
            return LadderState()
        except OSError as error:
            log.warning("the stored crashes of models cannot be read", file=str(self.file.path), reason=str(error))
        except ValueError as error:
            if tells:
                self.file.set_damaged_aside(error)
        return LadderState()

    def _write(self) -> None:
        try:
            self.file.write(msgspec.json.encode(self._learned))
        except OSError as error:
            log.warning("the crashes of models cannot be stored", file=str(self.file.path), reason=error.strerror)


class Descent:
    """One load's way down the ladder: the current rung, and the crashes on higher ones."""

    def __init__(
        self,
        ladder: Ladder,
        name: str,
        model: str,
        kind: FileKind,
        build: str,
        known: list[FailedRung],
        places: list[FileIdentity],
    ) -> None:
        self._ladder, self._name, self._model, self._kind, self._build = ladder, name, model, kind, build
        self._known, self._new, self._places = known, list[FailedRung](), places
        left = [rung for rung in LADDER if rung.name not in {fall.rung for fall in known}]
        self.rung = left[0] if left else LADDER[-1]
        self._left = left[1:]

    @property
    def falls(self) -> list[FailedRung]:
        return [*self._known, *self._new]

    def changed_files(self) -> str:
        """How the model's files have changed since the load began; empty if they have not."""
        return changed(self._places)

    def crashed_at_load(self, cause: str) -> bool:
        """Records a crash during the load and moves to the next rung. False: there is none."""
        self._new.append(FailedRung(self.rung.name, cause, time.time(), cause != "SIGBUS"))
        if not self._left:
            return False
        self.rung, self._left = self._left[0], self._left[1:]
        return True

    def loaded(self) -> None:
        """The load succeeded: records that the higher rungs do not work for this kind of file."""
        if self._new:
            self._learn([fall for fall in self.falls if fall not in self._suspected])

    def failed_everywhere(self) -> ModelUnavailable:
        """No rung works: recorded, so that the load is not repeated until something changes."""
        self._ladder.suspected.pop(self._model, None)
        self._ladder.learn(self._build, self._model, self.falls, all_dead=True)
        return dead(self._name, self.falls)

    @property
    def _suspected(self) -> list[FailedRung]:
        return self._ladder.suspected.get(self._model, [])

    def confirm(self) -> None:
        """A request succeeded: confirms the suspected crashes."""
        if found := self._ladder.suspected.pop(self._model, None):
            self._learn([*self._known, *(fall for fall in found if fall not in self._known)])

    def _learn(self, falls: list[FailedRung]) -> None:
        self._ladder.learn(self._build, self._kind.blamed(falls), falls)

    def crashed_at_work(self, cause: str) -> bool:
        """An engine died before its first answer. True: the next one starts on a lower rung. Each rung is tried once."""
        if self._model in self._ladder.spent:
            return False
        if not self._left:
            self._known.append(FailedRung(self.rung.name, cause, time.time(), False))
            self._ladder.spent.add(self._model)
            self._ladder.suspected.pop(self._model, None)
            for name in self._kind.names:
                self._ladder.doubt(self._build, name)
            return False
        suspected = self._ladder.suspected.setdefault(self._model, [])
        if self.rung.name not in [fall.rung for fall in suspected]:
            suspected.append(FailedRung(self.rung.name, cause, time.time(), False))
        return True

    def all_causes(self) -> str:
        """All rungs with their causes if every one was tried, else empty."""
        fallen = {fall.rung for fall in self.falls}
        return _each(self.falls) if fallen == set(NAMES) else ""

    def notice(self) -> list[str]:
        """The notice for a model that runs below the first rung."""
        if self.rung == LADDER[0]:
            return []
        causes = ", ".join(f"{fall.rung!r} ended with {fall.cause}" for fall in self.falls)
        return [
            f"{self._name} runs without {self.rung.without}, because llama.cpp crashes with them here ({causes}): "
            f"{self.rung.cost}. {REPAIR}"
        ]


def dead(name: str, falls: list[FailedRung]) -> ModelUnavailable:
    """The error that names every rung with its cause."""
    message = f"{name} cannot be loaded: llama.cpp crashes during the first decode on every rung: {_each(falls)}"
    causes = [fall.cause for fall in falls]
    advice = next((words for cause, words in ADVICE.items() if causes.count(cause) == len(causes)), "")
    return ModelUnavailable(message, f"{advice}{REPAIR} `llmctl models load {name}` tries each rung again.")


def _holds(fall: FailedRung) -> bool:
    return fall.stays or abs(time.time() - fall.at) < AGAIN_S  # one of the future: the clock was set back


def _each(falls: list[FailedRung]) -> str:
    return ", ".join(f"{fall.rung!r} ({fall.cause})" for fall in sorted(falls, key=_place))


def _place(fall: FailedRung) -> int:
    """Position on the ladder; a rung of another version comes last."""
    return NAMES.index(fall.rung) if fall.rung in NAMES else len(NAMES)


__all__ = ["Descent", "FailedRung", "FileKind", "Ladder", "Rung"]
