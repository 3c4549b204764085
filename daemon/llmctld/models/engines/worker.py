"""The hub's handle on one engine process: start it, submit requests, hear what comes back, notice when it dies.

It speaks the dialect of engine.messages over a socket pair, and turns the process's death into EngineFailed for each request
that was still waiting. It does not know which models exist or who may use them.
"""

import asyncio
import itertools
import os
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import msgspec
import psutil
import structlog

from llmctl.errors import EngineFailed, LlmctlError, ModelUnavailable, from_code
from llmctl.interpreter import module
from llmctld.engine import messages
from llmctld.engine.messages import (
    Adapter,
    ChatMessage,
    Embedded,
    Load,
    Overflow,
    Piece,
    Remark,
    Shortened,
    Submit,
    Texts,
)  # fmt: skip
from llmctld.models.engines.exit_cause import ExitCause, ran_out
from llmctld.models.engines.ladder import Descent
from llmctld.models.machine.environment import for_engine
from llmctld.watch import log

__all__ = [
    "Adapter",
    "ChatMessage",
    "Embedded",
    "FailedRequest",
    "Load",
    "LowerRung",
    "ModelHandle",
    "NoRungLeft",
    "Overflow",
    "Piece",
    "Remark",
    "RequestRecalled",
    "Shortened",
    "Submit",
    "Texts",
    "Ticket",
    "Worker",
]  # fmt: skip


class FailedRequest(NamedTuple):
    """A request that failed after it had cost something: `so_far` says what is known of that."""

    error: LlmctlError
    so_far: messages.Finished


class LowerRung(EngineFailed):
    """The engine died before it had answered anything; the next one leaves out some of what the library can do."""


class NoRungLeft(EngineFailed):
    """It has died of the same requests whatever was left out: asking once more is of no use."""


Heard = messages.Event | EngineFailed | FailedRequest

OTHERWISE = "Ask otherwise, or with fewer options; `llmctl daemon doctor` tries each of the library's kernels."
SMALLER = "Unload another model, or set a smaller `context`, `batch` or `gpu_layers` for this one."
WRITTEN_OVER = "Put a new file into a model's place with `mv`, and never write into one that is in use."
CLOSE_WAIT_S = 10.0
"""How long an engine may take to save what it has computed, when it is unloaded."""
DROP_WAIT_S = 5.0
"""How long a cancelled request waits for the engine's last word about it."""


class RequestRecalled(Exception):
    """A request came back before it was begun, since its engine makes room for another model: it is to be asked again."""


class Ticket:
    """One submitted request: iterate it for its pieces; then `finished` is set, or for texts `embedded`.

    Raises EngineFailed when the process dies, Recalled, and what a Refused names.
    """

    def __init__(self, worker: "ModelHandle", number: int) -> None:
        self.finished: messages.Finished | None = None
        self.embedded: Embedded | None = None
        self._recalled = False
        self._worker, self._number = worker, number
        self._events: asyncio.Queue[Heard] = asyncio.Queue()

    def hear(self, event: Heard) -> None:
        self._events.put_nowait(event)

    async def __aiter__(self) -> AsyncIterator[Piece | Remark]:
        while not self._has_ended():
            event = await self._events.get()
            if isinstance(event, messages.Finished):
                self.finished = event
            elif isinstance(event, Embedded):
                self.embedded = event
            elif isinstance(event, messages.Recalled):
                self._recalled = True
                raise RequestRecalled
            elif isinstance(event, messages.Refused):
                raise from_code(event.code, event.message, event.hint)
            elif isinstance(event, EngineFailed):
                raise event
            elif isinstance(event, FailedRequest):
                self.finished = event.so_far
                raise event.error
            else:
                yield event

    def _has_ended(self) -> bool:
        return self.finished is not None or self.embedded is not None or self._recalled

    def move(self, user: str, priority: int) -> None:
        """The request belongs to `user` from now on, with this priority."""
        if not self._has_ended():
            self._worker.move(self._number, user, priority)

    async def drop(self) -> None:
        """Cancels; returns once the engine has let go of the request, so that its use is known."""
        if self._has_ended() or not self._worker.drop(self._number):
            return
        try:
            await asyncio.wait_for(self._drain(), DROP_WAIT_S)
        except (asyncio.TimeoutError, EngineFailed):
            log.warning("an engine did not confirm a cancellation", model=self._worker.name)

    async def _drain(self) -> None:
        while self.finished is None:
            event = await self._events.get()
            if isinstance(event, messages.Finished):
                self.finished = event
            elif isinstance(event, FailedRequest):
                self.finished = event.so_far
            elif not isinstance(event, Piece | Remark):
                return


class ModelHandle(ABC):
    """What residency lends to requests: a loaded model, wherever it runs, and how many use it.

    `loaded` is what it said when it was ready; `busy` counts the requests, or texts, that it is at work on.
    """

    def __init__(self, name: str, backend: str) -> None:
        self.name, self.backend = name, backend
        self.loaded: messages.Loaded | None = None
        self.busy = self.leases = 0
        self.retiring = 0  # how many wait for it to be unused and then end it
        self.unused = asyncio.Event()
        self.unused.set()
        self.tokens_per_second = 0.0
        self.ended = asyncio.Event()

    @property
    def pid(self) -> int:
        """0: there is no process here."""
        return 0

    @property
    def memory_bytes(self) -> int:
        """What it takes of this machine's memory."""
        return 0

    @property
    def rung(self) -> str | None:
        """How much of its library it may use, once it is loaded; None where there is no choice."""
        return None

    @property
    def state(self) -> str:
        """What `ps` says of it, once it is loaded."""
        return "busy" if self.busy else "ready"

    def take(self) -> None:
        """One more request uses this worker."""
        self.leases += 1
        self.unused.clear()

    def give_back(self) -> None:
        self.leases -= 1
        if not self.leases:
            self.unused.set()

    @abstractmethod
    async def start(self) -> None:
        """Returns once the model is loaded. Raises ModelUnavailable."""

    @abstractmethod
    def submit(self, request: Submit | Texts) -> Ticket:
        """Gives `request` a number of its own. Raises EngineFailed when this has ended."""

    @abstractmethod
    def drop(self, number: int) -> bool:
        """Cancels; False when that request has already ended."""

    def move(self, number: int, user: str, priority: int) -> None:
        """Queues the request for another user, with another priority. An endpoint's requests keep their turn."""
        return

    def recall(self) -> None:
        """Asks for the requests back that have not been begun, where that can be; each is Recalled."""
        return  # what holds no memory makes no room

    @abstractmethod
    async def stop(self) -> None:
        """Returns when it has ended."""


class Worker(ModelHandle):
    """One engine process; `busy` follows its steps. `descent`: the rungs that it may be loaded on, None: there is one."""

    def __init__(self, load: Load, log_folder: Path, descent: Descent | None = None) -> None:
        super().__init__(load.name, load.backend)
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._tickets: dict[int, Ticket] = {}
        self._log_file = log_folder / f"engine-{load.name}.log"
        self._load, self._descent = load, descent
        self._answered = False
        self._began = 0
        """How long the log was when the process was started."""

    @property
    def rung(self) -> str | None:
        return self._descent.rung.name if self._descent and self.loaded else None

    async def start(self) -> None:
        """Returns once the model is loaded, on the highest rung that holds. Raises ModelUnavailable, in the engine's words."""
        while True:
            reader, report = await self._begin()
            if isinstance(report, messages.Loaded):
                break
            if not self._climbs_down(report):
                raise self._unavailable(report)
        self.loaded = report
        if self._descent is not None:
            self._descent.stood()
            report.notices[:0] = self._descent.notice()
        self._listening = asyncio.create_task(self._listen(reader))
        log.info(
            "a model is loaded",
            model=self.name,
            pid=self.pid,
            context=report.context,
            slots=report.slots,
            rung=self.rung,
        )

    async def _begin(self) -> tuple[asyncio.StreamReader, messages.Report | ExitCause]:
        """One process, until it says what became of its load, or ends."""
        ours, theirs = socket.socketpair()
        with theirs, self._log_file.open("ab") as errors:
            self._began = errors.tell()
            reader, self._writer = await asyncio.open_unix_connection(sock=ours)
            self._process = subprocess.Popen(  # noqa: ASYNC220 - from this thread: PR_SET_PDEATHSIG follows it
                module("llmctld.engine", str(theirs.fileno())),
                stdin=subprocess.DEVNULL, stdout=errors, stderr=errors, pass_fds=[theirs.fileno()],
                env=for_engine(os.environ),
            )  # fmt: skip
        rung = self._descent.rung.name if self._descent else self._load.rung
        self._writer.write(messages.frame(msgspec.structs.replace(self._load, rung=rung)))
        report: messages.Report | ExitCause
        try:
            report = await _read(reader)
        except EOFError:
            report = await self._death()
            self._writer.close()
        except asyncio.CancelledError:
            self.kill()
            await asyncio.shield(self._death())
            raise
        if not isinstance(report, messages.Loaded | ExitCause):
            self.kill()
            await self._death()
        return reader, report

    def _climbs_down(self, report: messages.Report | ExitCause) -> bool:
        """Whether the next rung is to be tried: the library died of this one, and of nothing else."""
        unproven = isinstance(report, messages.LoadFailed) and report.unproven
        crashed = isinstance(report, ExitCause) and report.is_crash and not ran_out(report, self._log_file, self._began)
        if self._descent is None or not (unproven or crashed) or self._descent.moved():
            return False
        cause = report.signal if isinstance(report, ExitCause) else "NaN"
        log.warning("a model does not load on this rung", model=self.name, rung=self._descent.rung.name, cause=cause)
        return self._descent.fell(cause)

    def _unavailable(self, report: messages.Report | ExitCause) -> ModelUnavailable:
        if isinstance(report, messages.LoadFailed) and not report.unproven:
            return ModelUnavailable(report.message, report.hint or None)
        if self._descent is not None and (moved := self._descent.moved()):
            return ModelUnavailable(f"{self.name} cannot be loaded while its file changes: {moved}", WRITTEN_OVER)
        if isinstance(report, ExitCause):
            if words := ran_out(report, self._log_file, self._began):
                return ModelUnavailable(f"{self.name} does not fit in memory: llama.cpp says {words!r}", SMALLER)
            if self._descent is not None and report.is_crash:
                return self._dead(self._descent)
            hint = f"Its last words are in {self._log_file}."
            return ModelUnavailable(f"the engine of {self.name} ended while loading ({report.words})", hint)
        if isinstance(report, messages.LoadFailed):
            return self._dead(self._descent) if self._descent else ModelUnavailable(report.message, report.hint)
        return ModelUnavailable(f"unexpected {report}")

    def _dead(self, descent: Descent) -> ModelUnavailable:
        error = descent.died()
        error.hint += f" Its last words are in {self._log_file}."
        return error

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def memory_bytes(self) -> int:
        """Resident bytes of the process, its mapped weights included."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def submit(self, request: Submit | Texts) -> Ticket:
        """Sends `request` under a number of its own. Raises EngineFailed when the process has died."""
        if self.ended.is_set():
            raise EngineFailed(f"the engine of {self.name} has ended")
        request.id = next(self._numbers)
        ticket = self._tickets[request.id] = Ticket(self, request.id)
        self._writer.write(messages.frame(request))
        return ticket

    def drop(self, number: int) -> bool:
        """Cancels; False when that request has already ended."""
        if number not in self._tickets or self.ended.is_set():
            return False
        self._writer.write(messages.frame(messages.Drop(number)))
        return True

    def move(self, number: int, user: str, priority: int) -> None:
        """Queues the request for another user, with another priority; one that runs goes on."""
        if number in self._tickets and not self.ended.is_set():
            self._writer.write(messages.frame(messages.Move(number, user, priority)))

    def recall(self) -> None:
        """Asks for the requests back that have not been begun; each is Recalled."""
        if self._tickets and not self.ended.is_set():
            self._writer.write(messages.frame(messages.Recall()))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        structlog.contextvars.clear_contextvars()  # it serves all requests, not the one that caused the load
        try:
            while True:
                report = await _read(reader)
                if isinstance(report, messages.Step):
                    self._hear(report)
        except EOFError:
            pass
        except msgspec.DecodeError:
            log.exception("an engine speaks nonsense and is ended", model=self.name, pid=self.pid)
            self.kill()
        finally:
            self._bury(await asyncio.shield(self._death()))

    def _hear(self, step: messages.Step) -> None:
        self.busy, self.tokens_per_second = step.busy, step.tokens_per_second
        for event in step.events:
            last = not isinstance(event, Piece | Remark)
            ticket = self._tickets.pop(event.id, None) if last else self._tickets.get(event.id)
            if ticket is not None:
                ticket.hear(event)
            if not self._answered and _is_answer(event):
                self._answered = True
                if self._descent is not None:
                    self._descent.answered()

    def _bury(self, death: ExitCause) -> None:
        self.busy = 0
        self.ended.set()
        self._writer.close()
        log.info(
            "an engine has ended", model=self.name, pid=self.pid, status=death.words, unfinished=len(self._tickets)
        )
        error = self._failure(death)
        for ticket in self._tickets.values():
            ticket.hear(error)
        self._tickets.clear()

    def _failure(self, death: ExitCause) -> EngineFailed:
        """What those who wait are told. An engine that has answered before died of what it was asked, or of chance."""
        said = f"the engine of {self.name} died ({death.words})"
        if self._descent is None or not death.is_crash:
            return EngineFailed(said)
        if moved := self._descent.moved():
            return EngineFailed(f"{said}: {moved}", WRITTEN_OVER)
        if words := ran_out(death, self._log_file, self._began):
            return EngineFailed(f"{said}: {words}", SMALLER)
        if self._tickets and not self._answered and self._descent.died_at_work(death.signal):
            return LowerRung(f"{said} on the rung {self.rung!r}")
        tried = self._descent.all_tried()
        if not tried:
            return EngineFailed(said)
        return NoRungLeft(f"{said}, at the same requests whatever is left out: {tried}", OTHERWISE)

    async def _death(self) -> ExitCause:
        assert self._process is not None
        return ExitCause(await asyncio.to_thread(self._process.wait))

    def kill(self) -> None:
        """Ends the process at once: its memory comes back, and whoever still waits is told."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self._writer.close()

    async def stop(self) -> None:
        """Ends the process when it has saved what is worth it, at the latest after CLOSE_WAIT_S."""
        if not self.ended.is_set():
            self._writer.write(messages.frame(messages.Close()))
        try:
            await asyncio.wait_for(self.ended.wait(), CLOSE_WAIT_S)
        except asyncio.TimeoutError:
            log.warning("an engine did not end by itself and is killed", model=self.name, pid=self.pid)
            self.kill()
            await self.ended.wait()


def _is_answer(event: messages.Event) -> bool:
    """Whether it shows that the model can compute."""
    if isinstance(event, messages.Finished):
        return event.reason != "cancelled" and event.completion_tokens > 0
    return isinstance(event, Embedded)


async def _read(reader: asyncio.StreamReader) -> messages.Report:
    """The next report. Raises EOFError at the end of the stream."""
    try:
        (length,) = messages.LENGTH.unpack(await reader.readexactly(messages.LENGTH.size))
        report: messages.Report = messages.decode_report(await reader.readexactly(length))
        return report
    except (asyncio.IncompleteReadError, ConnectionError) as error:
        raise EOFError from error
