"""Stage `record`, the outermost: writes a row of the history for every request, whatever its outcome.

The row is written on arrival and updated as the text grows, so that a crash loses nothing that was typed or generated.
"""

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from llmctl.errors import Internal, LlmctlError, Storage, Timeout
from llmctl.wire import Answer, Answers, Delta, Notice
from llmctld.call.call import Call, Event, Link, Stage
from llmctld.call.chat import as_json, question_of
from llmctld.call.overflow import shortened
from llmctld.history import History
from llmctld.runtime.log import log

NOTE_EVERY_S = 1.0
"""How often the text generated so far is written."""


def record(history: History) -> Link:
    """Raises Storage, with the answer, when the row cannot be written."""

    def link(next_: Stage) -> Stage:
        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            call.number = history.next_number()
            # written once the request waits for something: a memory hit waits for nothing, and needs one write instead of two
            beginning = asyncio.get_running_loop().call_soon(_begin, history, call)
            result: Answer | Answers | None = None
            if history.unkept is not None:
                yield Notice(
                    text=f"this request is not recorded: {history.unkept}; correct that, then run `llmctl daemon restart`"
                )
            async with call.cleanup:
                try:
                    async with aclosing(_noting(history, call, next_(call))) as events:
                        async for event in events:
                            if isinstance(event, Answer | Answers):
                                result = event
                            else:
                                yield event
                    if result is None:
                        raise Internal("the pipeline ended without an answer")
                except (asyncio.CancelledError, GeneratorExit):
                    beginning.cancel()
                    so_far = call.partials("cancelled") or [call.partial("cancelled")]
                    await asyncio.shield(_end(history, call, so_far, "cancelled"))
                    raise
                except Exception as error:
                    beginning.cancel()
                    own, so_far = _so_far(call, error)
                    await _end(history, call, so_far, "failed", own)
                    if own is error:
                        raise
                    raise own from error
                beginning.cancel()
                answers = [result] if isinstance(result, Answer) else result.answers
                await _end(history, call, answers, "done")
                answers[0].explain = call.explained if call.request.explain else None
            yield result

        return stage

    return link


def _begin(history: History, call: Call) -> None:
    if not call.origin.fills_cache:  # otherwise the row, if any, is written at the end
        history.save(_beginning(call))


async def _noting(history: History, call: Call, events: AsyncGenerator[Event, None]) -> AsyncGenerator[Event, None]:
    """The events. The text generated so far is written every NOTE_EVERY_S."""
    noted = time.monotonic()
    async with aclosing(events):
        async for event in events:
            yield event
            if isinstance(event, Delta) and time.monotonic() - noted > NOTE_EVERY_S:
                history.save({**_beginning(call), "text": call.work.text, "reasoning": call.work.reasoning})
                noted = time.monotonic()


def _so_far(call: Call, error: Exception) -> tuple[Exception, list[Answer]]:
    """The answers so far, and the error with the first of them, so that the user gets it."""
    if call.samples:
        return error, call.partials(error.code if isinstance(error, Timeout) else "error")
    if not isinstance(error, LlmctlError):
        return error, [call.partial("error")]
    partial = error.answer or call.partial("error")
    return error.with_answer(partial) if partial.text else error, [partial]


async def _end(history: History, call: Call, answers: list[Answer], state: str, error: Exception | None = None) -> None:
    """Writes a row for each sample; the first one is the row of the request."""
    if call.origin.fills_cache and (call.hit or call.supplied is not None):
        return  # nothing was computed, so nothing is recorded
    rows = [_beginning(call) | _outcome(call, answer, state) for answer in answers]
    for row in rows[1:]:
        row["number"] = history.next_number()
        row.pop("messages", None)  # a chat stands once, however many samples there are of its answer
    if error is not None:
        known = error if isinstance(error, LlmctlError) else Internal(type(error).__name__)
        rows = [{**row, "code": known.code, "message": known.message} for row in rows]
    try:
        save = history.save_now if call.hit == "memory" and len(rows) == 1 else history.save
        await asyncio.gather(*(save(row) for row in rows))
    except Storage as failure:
        log.error("a request could not be recorded", error=failure.message)
        if state == "done":
            raise failure.with_answer(answers[0]) from failure


def _beginning(call: Call) -> dict[str, Any]:
    request = call.request
    prompt = request.prompt if call.prompt is None else call.prompt
    if prompt is None and request.tokens is None:
        prompt = request.stdin if request.messages is None else question_of(request.messages)
    chat = {} if request.messages is None else {"messages": as_json(request.messages)}
    return {"number": call.number, "id": call.id, "at": call.at, "user": call.origin.payer,
            "tags": json.dumps(request.tags) if request.tags else "[]", "state": "running",
            "model": request.model or request.default_model, "purpose": call.origin.purpose.value, "run": call.origin.run,
            "system": request.system if call.system is None else call.system, "prompt": prompt, **chat}  # fmt: skip


def _sent(call: Call) -> str | None:
    """The prompt as the model read it, where a part was cut."""
    left_out = call.work.left_out
    return shortened(call.prompt, left_out) if left_out is not None and call.prompt is not None else None


def _outcome(call: Call, answer: Answer, state: str) -> dict[str, Any]:
    timings, usage = answer.timings, answer.usage
    return {
        "ended": time.time(), "state": state, "model": answer.model, "conversation": answer.conversation,
        "sample": answer.index, "text": answer.text or ("" if answer.index else call.work.text),
        "reasoning": answer.reasoning, "finish_reason": answer.finish_reason,
        "hit": answer.cache.hit, "key": answer.cache.key, "prompt_tokens": usage.prompt_tokens,
        "cached_tokens": usage.cached_tokens, "completion_tokens": usage.completion_tokens, "queue_ms": timings.queue_ms,
        "load_ms": timings.load_ms, "prefill_ms": timings.prefill_ms, "decode_ms": timings.decode_ms,
        "total_ms": timings.total_ms, "sent": _sent(call), "computed_by": call.computed_by,
        "saved_ms": None if call.saved_ms is None or answer.index else round(call.saved_ms, 3),
    }  # fmt: skip
