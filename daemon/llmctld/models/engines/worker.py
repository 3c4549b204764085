"""One engine process: start it, submit requests, receive its reports, handle its exit_cause.

Speaks engine.messages over a socket pair. When the process dies, each open request gets EngineFailed.
"""

import asyncio
import itertools
import math
import os
import signal
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import msgspec
import psutil
import structlog

from llmctl.errors import EngineFailed, ModelUnavailable
from llmctl.interpreter import module
from llmctld.engine import messages
from llmctld.engine.fit import mebibytes
from llmctld.engine.messages import Embedded, Load, Piece, Remark, Submit, Texts
from llmctld.models.engines.exit_cause import ExitCause, ran_out
from llmctld.models.engines.handle import ModelHandle
from llmctld.models.engines.ladder import Descent
from llmctld.models.engines.load_watch import NoProgressError, with_progress
from llmctld.models.engines.ticket import LowerRung, NoRungLeft, Ticket
from llmctld.models.machine.environment import for_engine
from llmctld.runtime.log import log
from llmctld.runtime.timeouts import timeout

OTHERWISE = "Change the request, or use fewer options; `llmctl daemon doctor` tries each of the library's kernels."
SMALLER = "Unload another model, or set a smaller `context`, `batch` or `gpu_layers` for this one."
WRITTEN_OVER = "Replace a model's file with `mv`; never write into a file that is in use."
STALLED = "Check that the disk with {path} answers; a longer `resources.load_timeout` waits longer. {log} may say more."
CLOSE_WAIT_S = 10.0
"""Time for an engine to save computed prefixes before it is killed."""


class Worker(ModelHandle):
    """One engine process. `descent`: the rungs to try; None: there is only one way to load. `load_timeout`: seconds without
    progress after which a load is ended.
    """

    def __init__(
        self, load: Load, log_folder: Path, descent: Descent | None = None, load_timeout: float = math.inf
    ) -> None:
        super().__init__(load.name, load.backend)
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._tickets: dict[int, Ticket] = {}
        self._log_file = log_folder / f"engine-{load.name}.log"
        self._load, self._descent, self._load_timeout = load, descent, load_timeout
        self._answered = False
        self._began = 0
        """Length of the log when the process was started."""

    @property
    def rung(self) -> str | None:
        return self._descent.rung.name if self._descent and self.loaded else None

    async def start(self) -> None:
        """Loads the model on the highest rung that works. Raises ModelUnavailable with the engine's message."""
        while True:
            reader, report = await self._begin()
            if isinstance(report, messages.Loaded):
                break
            if not self._climbs_down(report):
                raise self._unavailable(report)
        self.loaded = report
        if self._descent is not None:
            self._descent.loaded()
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

    def _open_log(self) -> BinaryIO:
        """The end of the engine's log, whose folder may have been removed; nowhere if the disk takes none."""
        with suppress(OSError):
            self._log_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            return self._log_file.open("ab")
        return Path(os.devnull).open("ab")

    async def _begin(self) -> tuple[asyncio.StreamReader, messages.Report | ExitCause]:
        """Starts a process; returns its report on the load, or why it ended."""
        ours, theirs = socket.socketpair()
        with theirs, self._open_log() as errors:
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
            report = await with_progress(_read(reader), self.pid, self._load_timeout)
        except NoProgressError as stalled:
            raise await self._stalled(stalled) from None
        except EOFError:
            report = await self._exit_cause()
            self._writer.close()
        except asyncio.CancelledError:
            self.kill()
            await asyncio.shield(self._exit_cause())
            raise
        if not isinstance(report, messages.Loaded | ExitCause):
            self.kill()
            await self._exit_cause()
        return reader, report

    async def _stalled(self, stalled: NoProgressError) -> ModelUnavailable:
        """Kills the process; returns the error. A process that waits for a dead disk may not end even then."""
        self.kill()
        with suppress(asyncio.TimeoutError):
            async with timeout(CLOSE_WAIT_S):
                await asyncio.shield(self._exit_cause())
        so_far = f"{mebibytes(stalled.read)} had been read and {mebibytes(stalled.filled)} of memory filled"
        message = f"the load of {self.name} made no progress for {self._load_timeout:g} s and was ended: {so_far}"
        return ModelUnavailable(message, STALLED.format(path=self._load.path, log=self._log_file))

    def _climbs_down(self, report: messages.Report | ExitCause) -> bool:
        """Moves to the next rung if the library crashed on this one. False: there is none, or something else failed."""
        unproven = isinstance(report, messages.LoadFailed) and report.unproven
        crashed = isinstance(report, ExitCause) and report.is_crash and not ran_out(report, self._log_file, self._began)
        if self._descent is None or not (unproven or crashed) or self._descent.changed_files():
            return False
        cause = report.signal if isinstance(report, ExitCause) else "NaN"
        log.warning("a model does not load on this rung", model=self.name, rung=self._descent.rung.name, cause=cause)
        return self._descent.crashed_at_load(cause)

    def _unavailable(self, report: messages.Report | ExitCause) -> ModelUnavailable:
        if isinstance(report, messages.LoadFailed) and not report.unproven:
            return ModelUnavailable(report.message, report.hint or None)
        if self._descent is not None and (moved := self._descent.changed_files()):
            return ModelUnavailable(f"{self.name} cannot be loaded while its file changes: {moved}", WRITTEN_OVER)
        if isinstance(report, ExitCause):
            if words := ran_out(report, self._log_file, self._began):
                return ModelUnavailable(f"{self.name} does not fit in memory: llama.cpp says {words!r}", SMALLER)
            if self._descent is not None and report.is_crash:
                return self._dead(self._descent)
            hint = f"The end of {self._log_file} may say why."
            return ModelUnavailable(f"the engine of {self.name} ended during the load ({report.words})", hint)
        if isinstance(report, messages.LoadFailed):
            return self._dead(self._descent) if self._descent else ModelUnavailable(report.message, report.hint)
        return ModelUnavailable(f"unexpected {report}")

    def _dead(self, descent: Descent) -> ModelUnavailable:
        error = descent.failed_everywhere()
        error.hint += f" The end of {self._log_file} may say more."
        return error

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    @property
    def memory_bytes(self) -> int:
        """Resident memory of the process, mapped weights included."""
        try:
            return int(psutil.Process(self.pid).memory_info().rss)
        except psutil.Error:
            return 0

    def submit(self, request: Submit | Texts) -> Ticket:
        """Sends `request` under a new number. Raises EngineFailed if the process has died."""
        if self.ended.is_set():
            raise EngineFailed(f"the engine of {self.name} has ended")
        request.id = next(self._numbers)
        ticket = self._tickets[request.id] = Ticket(self, request.id)
        self._writer.write(messages.frame(request))
        return ticket

    def drop(self, number: int) -> bool:
        """Cancels a request. False: it has already ended."""
        if number not in self._tickets or self.ended.is_set():
            return False
        self._writer.write(messages.frame(messages.Drop(number)))
        return True

    def move(self, number: int, user: str, priority: int) -> None:
        """Queues the request for another user, with another priority; one that runs goes on."""
        if number in self._tickets and not self.ended.is_set():
            self._writer.write(messages.frame(messages.Move(number, user, priority)))

    def recall(self) -> None:
        """Asks for the return of requests that have not started; each raises RequestRecalled."""
        if self._tickets and not self.ended.is_set():
            self._writer.write(messages.frame(messages.Recall()))

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        structlog.contextvars.clear_contextvars()  # this task serves all requests, not only the one that caused the load
        try:
            while True:
                report = await _read(reader)
                if isinstance(report, messages.Step):
                    self._hear(report)
        except EOFError:
            pass
        except msgspec.DecodeError:
            log.exception("an engine sent an invalid message and is killed", model=self.name, pid=self.pid)
            self.kill()
        finally:
            self._bury(await asyncio.shield(self._exit_cause()))

    def _hear(self, step: messages.Step) -> None:
        self.busy, self.tokens_per_second = step.busy, step.tokens_per_second
        for event in step.events:
            last = not isinstance(event, Piece | Remark)
            ticket = self._tickets.pop(event.id, None) if last else self._tickets.get(event.id)
            if ticket is not None:
                ticket.receive(event)
            if not self._answered and _is_answer(event):
                self._answered = True
                if self._descent is not None:
                    self._descent.confirm()

    def _bury(self, exit_cause: ExitCause) -> None:
        self.busy = 0
        self.ended.set()
        self._writer.close()
        log.info(
            "an engine has ended", model=self.name, pid=self.pid, status=exit_cause.words, unfinished=len(self._tickets)
        )
        error = self._failure(exit_cause)
        for ticket in self._tickets.values():
            ticket.receive(error)
        self._tickets.clear()

    def _failure(self, exit_cause: ExitCause) -> EngineFailed:
        """The error for open requests. An engine that has answered before died of a request, or by chance."""
        said = f"the engine of {self.name} died ({exit_cause.words})"
        if self._descent is None or not exit_cause.is_crash:
            return EngineFailed(said)
        if moved := self._descent.changed_files():
            return EngineFailed(f"{said}: {moved}", WRITTEN_OVER)
        if words := ran_out(exit_cause, self._log_file, self._began):
            return EngineFailed(f"{said}: {words}", SMALLER)
        if self._tickets and not self._answered and self._descent.crashed_at_work(exit_cause.signal):
            return LowerRung(f"{said} on the rung {self.rung!r}")
        tried = self._descent.all_causes()
        if not tried:
            return EngineFailed(said)
        return NoRungLeft(f"{said} during the same requests on every rung: {tried}", OTHERWISE)

    async def _exit_cause(self) -> ExitCause:
        assert self._process is not None
        return ExitCause(await asyncio.to_thread(self._process.wait))

    def kill(self) -> None:
        """Kills the process: its memory is freed, and open requests fail."""
        if self._process is not None and self._process.poll() is None:
            os.kill(self.pid, signal.SIGKILL)
        self._writer.close()

    async def stop(self) -> None:
        """Ends the process after it has saved computed prefixes; kills it after CLOSE_WAIT_S."""
        if not self.ended.is_set():
            self._writer.write(messages.frame(messages.Close()))
        try:
            async with timeout(CLOSE_WAIT_S):
                await self.ended.wait()
        except asyncio.TimeoutError:
            log.warning("an engine did not exit and is killed", model=self.name, pid=self.pid)
            self.kill()
            await self.ended.wait()


def _is_answer(event: messages.Event) -> bool:
    """Whether the event proves that the model can compute."""
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
