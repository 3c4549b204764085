"""On which rung a model is loaded: what was learned from engines that died, per build of the library, processor and kind of file.

It keeps what it has learned in a file, and knows no process: who has died, and of what, it is told. The rungs stand in
engine/llama/library/rungs.py.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from llmctl.errors import ModelUnavailable
from llmctl.hashes import Place
from llmctld.engine.llama.library.rungs import LADDER, NAMES, Rung
from llmctld.models.engines.mapped_files import changed, places_of
from llmctld.models.machine.build import build, processor
from llmctld.storage.files import write_whole
from llmctld.watch import log

AGAIN_S = 86400.0
"""After so long a rung is tried again from which an engine fell at work: that may have been chance, a fall at load is not."""
MOST = 256
"""Of each list that is kept; the oldest go."""
ADVICE = {
    "SIGILL": "SIGILL: llama.cpp was built for a processor that knows more than this one. ",
    "NaN": "NaN: what it computes is no number; its file may be damaged, fetch it again. ",
    "SIGBUS": "SIGBUS: the file could not be read, as on a disk that fails. ",
}
"""Cause -> what it means when every rung ends with it."""
REPAIR = "`llmctl daemon doctor` says which kernels are broken, and how the library is built anew."


class FileKind(NamedTuple):
    """Of file. A fall from the first rung alone is the fault of kernels for these `types` of tensors, whatever is computed with
    them; what goes deeper may be the `architecture`'s own.
    """

    types: str
    architecture: str = ""

    @property
    def names(self) -> tuple[str, str]:
        return self.types, f"{self.architecture}: {self.types}"

    def blamed(self, falls: "list[Fall]") -> str:
        return self.names[0] if {fall.rung for fall in falls} <= {LADDER[0].name} else self.names[1]


class Fall(msgspec.Struct):
    """A rung that is of no use, since an engine died on it of `cause`, a signal's name, or computed what is no number.

    `stays`: until the library is another one.
    """

    rung: str
    cause: str
    at: float = 0.0
    stays: bool = True


class KnownFalls(msgspec.Struct):
    """What was learned on a processor with one build of the library. `of`: a kind of file, or a model's file and settings."""

    build: str
    processor: str
    of: str
    falls: list[Fall]


class LadderState(msgspec.Struct):
    """The file. `kinds`: where models of a kind begin; `dead`: models that no rung holds."""

    kinds: list[KnownFalls] = []
    dead: list[KnownFalls] = []


class Ladder:
    """What is known of all models; `descent` is one load's view of it."""

    def __init__(self, file: Path) -> None:
        self._file, self._processor = file, processor()
        self._learned = _read(file)
        self.suspected: dict[str, list[Fall]] = {}
        """Model -> falls at work that nothing has confirmed: no lower rung has answered yet."""
        self.spent: set[str] = set()
        """Models whose work ended every rung: it is not the rungs that are at fault."""

    def descent(self, name: str, model: str, kind: FileKind, paths: Sequence[Path]) -> "Descent":
        """`model`: its files' identity and its settings. Raises ModelUnavailable where no rung held it the last time."""
        here = build()
        for known in self._kept(self._learned.dead, here, model):
            if all(_holds(fall) for fall in known.falls):
                raise dead(name, known.falls)
        learned = [known for of in kind.names for known in self._kept(self._learned.kinds, here, of)]
        falls = [*self.suspected.get(model, []), *(fall for known in learned for fall in known.falls if _holds(fall))]
        above = sorted({fall.rung: fall for fall in falls}.values(), key=_place)
        return Descent(self, name, model, kind, here, above, places_of(paths))

    def retry(self, model: str) -> None:
        """Somebody wants to see for himself what a model does that no rung held."""
        self.spent.discard(model)
        if any(each.of == model for each in self._learned.dead):
            self._learned.dead = [each for each in self._learned.dead if each.of != model]
            self._write()

    def here(self) -> list[KnownFalls]:
        """What is known of kinds of tensors with the library and the processor that are there now."""
        now = build()
        return [it for it in self._learned.kinds if (it.build, it.processor) == (now, self._processor) and it.falls]

    def learn(self, build: str, of: str, falls: list[Fall], *, all_dead: bool = False) -> None:
        """From now on. What was learned with another build on this processor is forgotten."""
        kept = self._learned.dead if all_dead else self._learned.kinds
        kept.append(KnownFalls(build, self._processor, of, falls))
        for each in (self._learned.kinds, self._learned.dead):
            last = {(known.build, known.processor, known.of): known for known in each}
            each[:] = [it for it in last.values() if it.processor != self._processor or it.build == build][-MOST:]
        self._write()

    def doubt(self, build: str, of: str) -> None:
        """What was learned at work alone is no better founded than what has just turned out wrong."""
        for each in self._kept(self._learned.kinds, build, of):
            each.falls = [fall for fall in each.falls if fall.stays]
            self._write()

    def _kept(self, kept: list[KnownFalls], build: str, of: str) -> list[KnownFalls]:
        """One, or none."""
        return [each for each in kept if (each.build, each.processor, each.of) == (build, self._processor, of)]

    def _write(self) -> None:
        try:
            write_whole(self._file, msgspec.json.encode(self._learned))
        except OSError as error:
            log.warning("what crashes cannot be written down", file=str(self._file), reason=error.strerror)


class Descent:
    """One load's way down the ladder: where it stands, and why not higher. `moved` says whether its files have changed since."""

    def __init__(
        self, ladder: Ladder, name: str, model: str, kind: FileKind, build: str, known: list[Fall], places: list[Place]
    ) -> None:
        self._ladder, self._name, self._model, self._kind, self._build = ladder, name, model, kind, build
        self._known, self._new, self._places = known, list[Fall](), places
        left = [rung for rung in LADDER if rung.name not in {fall.rung for fall in known}]
        self.rung = left[0] if left else LADDER[-1]
        self._left = left[1:]

    @property
    def falls(self) -> list[Fall]:
        return [*self._known, *self._new]

    def moved(self) -> str:
        """What has become of the model's files since they were looked at; empty: nothing."""
        return changed(self._places)

    def fell(self, cause: str) -> bool:
        """While it was loaded. Whether there is a lower rung, on which it stands now."""
        self._new.append(Fall(self.rung.name, cause, time.time(), cause != "SIGBUS"))
        if not self._left:
            return False
        self.rung, self._left = self._left[0], self._left[1:]
        return True

    def stood(self) -> None:
        """It is ready: those above are of no use to others of its kind either."""
        if self._new:
            self._learn([fall for fall in self.falls if fall not in self._suspected])

    def died(self) -> ModelUnavailable:
        """There is no lower one: until something changes nobody need try again."""
        self._ladder.suspected.pop(self._model, None)
        self._ladder.learn(self._build, self._model, self.falls, all_dead=True)
        return dead(self._name, self.falls)

    @property
    def _suspected(self) -> list[Fall]:
        return self._ladder.suspected.get(self._model, [])

    def answered(self) -> None:
        """A request has ended well: what was suspected of the rungs above holds."""
        if found := self._ladder.suspected.pop(self._model, None):
            self._learn([*self._known, *(fall for fall in found if fall not in self._known)])

    def _learn(self, falls: list[Fall]) -> None:
        self._ladder.learn(self._build, self._kind.blamed(falls), falls)

    def died_at_work(self, cause: str) -> bool:
        """Before it had answered anything. Whether the next one begins on a lower rung: each is tried once."""
        if self._model in self._ladder.spent:
            return False
        if not self._left:
            self._known.append(Fall(self.rung.name, cause, time.time(), False))
            self._ladder.spent.add(self._model)
            self._ladder.suspected.pop(self._model, None)
            for name in self._kind.names:
                self._ladder.doubt(self._build, name)
            return False
        suspected = self._ladder.suspected.setdefault(self._model, [])
        if self.rung.name not in [fall.rung for fall in suspected]:
            suspected.append(Fall(self.rung.name, cause, time.time(), False))
        return True

    def all_tried(self) -> str:
        """Every rung and what ended it, where none is left; else nothing."""
        fallen = {fall.rung for fall in self.falls}
        return _each(self.falls) if fallen == set(NAMES) else ""

    def notice(self) -> list[str]:
        """What a user should know of a rung that is not the first."""
        if self.rung == LADDER[0]:
            return []
        causes = ", ".join(f"{fall.rung!r} ended with {fall.cause}" for fall in self.falls)
        return [
            f"{self._name} runs without {self.rung.without}, because llama.cpp crashes with them here ({causes}): "
            f"{self.rung.cost}. {REPAIR}"
        ]


def dead(name: str, falls: list[Fall]) -> ModelUnavailable:
    """Every rung by name, and what ended it there."""
    message = f"{name} cannot be loaded: llama.cpp crashes at its first words, whatever is left out: {_each(falls)}"
    causes = [fall.cause for fall in falls]
    advice = next((words for cause, words in ADVICE.items() if causes.count(cause) == len(causes)), "")
    return ModelUnavailable(message, f"{advice}{REPAIR} `llmctl models load {name}` tries each rung once more.")


def _holds(fall: Fall) -> bool:
    return fall.stays or time.time() - fall.at < AGAIN_S


def _each(falls: list[Fall]) -> str:
    return ", ".join(f"{fall.rung!r} ({fall.cause})" for fall in sorted(falls, key=_place))


def _place(fall: Fall) -> int:
    """On the ladder; a rung of another version comes last."""
    return NAMES.index(fall.rung) if fall.rung in NAMES else len(NAMES)


def _read(file: Path) -> LadderState:
    """A damaged one is begun anew: what crashes will be seen again."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=LadderState)
    except FileNotFoundError:
        return LadderState()
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("what was learned of crashes cannot be read, and is begun anew", file=str(file), reason=str(error))
        return LadderState()


__all__ = ["Descent", "Fall", "FileKind", "Ladder", "Rung"]
