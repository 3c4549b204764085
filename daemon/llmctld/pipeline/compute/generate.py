"""Stage `generate`, the innermost: a place in the queue, a lease on the model, and its tokens as they come.

It knows neither caches nor history. Whether a request is computed again after its engine failed stands in attempts.py.
"""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing, nullcontext
from functools import partial
from typing import Any
from weakref import WeakSet

from llmctl.config import ModelEntry
from llmctl.errors import EngineFailed, ModelUnavailable, counted
from llmctl.wire import Answer, Delta, Likely, Notice, Sampled, TokenUsage, sampling_of
from llmctld.cache.level import LeftOut
from llmctld.call import overflow
from llmctld.call.call import Call, Event, Generation
from llmctld.call.chat import question_of
from llmctld.call.origin import Origin, Purpose
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.engines.handle import ModelHandle
from llmctld.models.engines.ticket import (
    Adapter,
    ChatMessage,
    Overflow,
    Piece,
    Remark,
    RequestRecalled,
    Shortened,
    Submit,
    Ticket,
)
from llmctld.models.remote.systems import folded, has_later, is_later
from llmctld.models.running.admission import Admission
from llmctld.models.running.residency import Residency
from llmctld.money.pricing.energy import EnergyMeter
from llmctld.pipeline.compute.attempts import Attempts

MAX_TOKENS = 2048
"""If the client sends none. The engine clips it to the room that the prompt leaves."""
CONFIRM_S = 0.5
"""How long a request that was cancelled, or reached its `--timeout`, waits for the engine's last text and its figures."""
MOVED = "its chat template accepts a system prompt only at the beginning; this one is sent before its question"
SET_BY_MODEL = ("temperature", "top_p", "top_k", "min_p")
"""Sampling fields that `models.NAME` may set."""


class Generator:
    """The stage. At most `queue` requests wait for a model, besides those that hold one of its slots."""

    def __init__(self, residency: Residency, catalog: Catalog, queue: int, energy: EnergyMeter | None = None) -> None:
        self._residency, self._catalog = residency, catalog
        self._energy = EnergyMeter() if energy is None else energy
        self._admission = Admission(residency, queue)
        self._late: set[asyncio.Future[None]] = set()
        """Leases of requests whose cancellation the engine has not confirmed."""
        self._told: WeakSet[ModelHandle] = WeakSet()
        self._told_of_base: WeakSet[ModelHandle] = WeakSet()

    async def __call__(self, call: Call) -> AsyncGenerator[Event, None]:
        """Raises Busy, ModelUnavailable, EngineFailed, and what the engine refuses."""
        entry = call.entry
        if call.origin.purpose is Purpose.WARM:  # rows of a file, more than the queue takes
            call.work.state = "queued"
            await self._admission.wait_for_slot(entry)
        # the hub's own work takes no user's place in the queue
        place = nullcontext() if call.origin.own_work else self._admission.place(entry)
        with place:
            loads = call.may_load and not self._residency.is_loaded(entry)
            if loads and not self._catalog.is_guide(entry):  # which takes less time than reading the notice
                yield Notice(text=self._residency.wait_notice(entry))
            async with aclosing(self._compute(call, entry)) as events:
                async for event in events:
                    yield event

    async def _compute(self, call: Call, entry: ModelEntry) -> AsyncGenerator[Event, None]:
        attempts = Attempts(entry, "a request")
        while True:
            try:
                async with aclosing(self._attempt(call, entry)) as events:
                    async for event in events:
                        yield event
                return
            except (RequestRecalled, EngineFailed) as error:
                attempts.failed(error, seen=bool(call.work.text or call.work.reasoning))

    async def _attempt(self, call: Call, entry: ModelEntry) -> AsyncGenerator[Event, None]:
        work = call.work
        if not call.may_load and not self._residency.is_loaded(entry):
            raise ModelUnavailable(f"{entry.name} is not loaded, and the hub loads no model for its own work", "")
        work.state = "loading" if not self._residency.is_loaded(entry) else "queued"
        start = time.monotonic()
        prompt = "\n".join(message.content for message in call.messages)
        stays = self._residency.remaining(entry) if call.origin.own_work else call.request.keep_alive
        async with AsyncExitStack() as held:
            worker = await held.enter_async_context(self._residency.lease(entry, prompt, stays))
            work.timings.load_ms = round((time.monotonic() - start) * 1e3, 3) if work.state == "loading" else 0.0
            work.state = "queued"
            for notice in self._notices(worker, call):
                yield notice
            submit = self._submission(call, entry, _folds(worker, call))
            ticket, end_energy = worker.submit(submit), self._energy.begin()
            follow = partial(_move, ticket)
            call.followers.append(follow)
            try:
                async for piece in ticket:
                    if isinstance(piece, Remark):
                        cut = piece.shortened
                        said = piece.text if cut is None else _left_out(call, cut, submit.messages)
                        yield Notice(text=f"{entry.name}: {said}")
                        continue
                    work.state = "working"
                    yield _gain(work, piece)
            finally:
                call.followers.remove(follow)
                await asyncio.shield(self._drop(ticket, held))  # a second cancel must not leave the slot busy
                for piece in ticket.rest:
                    _gain(work, piece)
                work.joules = end_energy()
                _note_use(call, ticket)
            yield _answer(call, ticket)

    async def _drop(self, ticket: Ticket, held: AsyncExitStack) -> None:
        """Cancels the request unless it has ended. An engine that stands still keeps the lease, but nobody waiting."""
        dropping = asyncio.ensure_future(ticket.drop())
        await asyncio.wait([dropping], timeout=CONFIRM_S)
        if not dropping.done():
            late = asyncio.ensure_future(_release(dropping, held.pop_all()))
            self._late.add(late)
            late.add_done_callback(self._late.discard)

    def _notices(self, worker: ModelHandle, call: Call) -> list[Notice]:
        """Notices about the model, once per load, and about the system prompt of this turn."""
        assert worker.loaded is not None
        came_now = is_later if call.request.messages is None else has_later
        moved = [f"{worker.name}: {MOVED}"] if _folds(worker, call) and came_now(call.messages) else []
        texts = [*([] if worker in self._told else worker.loaded.notices), *moved]
        self._told.add(worker)
        spoken_to = not call.request.raw and call.request.tokens is None
        if worker.loaded.base and spoken_to and worker not in self._told_of_base:
            self._told_of_base.add(worker)
            texts.append(f"{worker.name} has no chat template: it is a base model and continues the text")
        return [Notice(text=text) for text in texts]

    def _submission(self, call: Call, entry: ModelEntry, folds: bool = False) -> Submit:
        request, settings = call.request, self._catalog.settings(entry)

        sampling: dict[str, Any] = {**sampling_of(request), "max_tokens": request.max_tokens or MAX_TOKENS}
        for name in SET_BY_MODEL:
            if sampling[name] is None:
                sampling[name] = getattr(settings, name)
        messages = folded(call.messages) if folds else call.messages
        return Submit(
            id=0,
            messages=messages,
            overflow=_overflow(call, messages),
            tokens=request.tokens,
            raw=request.raw,
            **sampling,
            ignore_eos=request.ignore_eos,
            streams=request.stream,
            user=call.origin.payer,
            priority=call.origin.urgency,
            adapters=tuple(Adapter(*use) for use in self._catalog.adapters(entry, request.adapters)),
            repro=request.repro,
            schema=request.schema,
            grammar=request.grammar,
            think=request.think or (None if request.raw or request.tokens is not None else settings.think),
        )


async def _release(dropping: "asyncio.Future[None]", held: AsyncExitStack) -> None:
    async with held:
        await dropping


def _gain(work: Generation, piece: Piece) -> Delta:
    """Adds a piece to the text so far."""
    gap = "\n\n" if piece.moved and work.text else ""
    work.reasoning += piece.reasoning
    if piece.moved:
        work.reasoning, work.text = (work.text + work.reasoning).strip(), ""
    work.text += piece.text
    return Delta(text=gap + piece.text, reasoning=piece.reasoning)


def _move(ticket: Ticket, origin: Origin) -> None:
    ticket.move(origin.payer, origin.urgency)


def _note_use(call: Call, ticket: Ticket) -> None:
    """Copies usage and timings as the engine counted them, also for a request that was cut short."""
    end = ticket.finished
    if end is None:
        return
    call.work.usage = TokenUsage(end.prompt_tokens, end.cached_tokens, end.completion_tokens)
    if end.logprobs is not None:
        call.work.logprobs = [
            Sampled(each.token, each.logprob, [Likely(*likely) for likely in each.top]) for each in end.logprobs
        ]
    timings = call.work.timings
    timings.queue_ms, timings.prefill_ms, timings.decode_ms = end.queue_ms, end.prefill_ms, end.decode_ms
    timings.drafted, timings.accepted = end.drafted, end.accepted
    if end.decode_ms > 0 and end.completion_tokens > 1:
        timings.tokens_per_second = round((end.completion_tokens - 1) / end.decode_ms * 1e3, 2)


def _overflow(call: Call, messages: list[ChatMessage]) -> Overflow | None:
    """The parts that may be cut, as characters of the last question, which may begin with a system prompt."""
    within = overflow.parts(call.request, call.prompt)
    if not within:
        return None
    ahead = _ahead(call, messages)
    return Overflow(call.request.overflow or "", [(ahead + part.start, ahead + part.end) for part in within])


def _ahead(call: Call, messages: list[ChatMessage]) -> int:
    """Length of the system prompt that was put in front of the last question."""
    return len(question_of(messages) or "") - len(call.prompt or "")


def _left_out(call: Call, told: Shortened, messages: list[ChatMessage]) -> str:
    """The notice of what was cut. Also noted for the history, and for requests that are served this answer later."""
    prompt = call.prompt or ""
    ahead = _ahead(call, messages)
    call.work.left_out = LeftOut(told.start - ahead, told.end - ahead, told.glue, told.tokens, told.of)
    return overflow.cut_notice(call.work.left_out, call.request, prompt)


def _folds(worker: ModelHandle, call: Call) -> bool:
    """Whether the system message of a later turn is put into the question of that turn."""
    assert worker.loaded is not None
    return not worker.loaded.system_later and not call.request.raw


def _answer(call: Call, ticket: Ticket) -> Answer:
    assert ticket.finished is not None
    work = call.work
    answer = call.answer(work.text, work.reasoning or None, ticket.finished.reason, work.usage, work.timings)
    answer.batched = ticket.finished.batched
    answer.logprobs = work.logprobs
    call.explain("generate", _summary(work))
    return answer


def _summary(work: Generation) -> str:
    usage, timings = work.usage, work.timings
    return (
        f"queued {timings.queue_ms:.0f} ms, loaded {timings.load_ms:.0f} ms, {usage.prompt_tokens} prompt tokens "
        f"({usage.cached_tokens} computed before) {timings.prefill_ms:.0f} ms, {counted(usage.completion_tokens, 'token')} "
        f"{timings.decode_ms:.0f} ms"
    )
