"""Stage `samples` (`-n`): runs the stages behind it once per sample, each as a call with its own seed.

It merges the events of the samples. The engine computes their common prompt once.
"""

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

import msgspec

from llmctl.errors import Incomplete, LlmctlError
from llmctl.wire import Answer, Answers, Delta, Notice
from llmctld.call.call import Call, Event, Generation, Stage

SEEDS = 2**32


def samples(next_: Stage) -> Stage:
    """Yields deltas sample by sample, in order. A failure ends all; an Incomplete is raised once the others have ended."""

    async def stage(call: Call) -> AsyncGenerator[Event, None]:
        if (call.request.n or 1) == 1:
            async with aclosing(next_(call)) as events:
                async for event in events:
                    yield event
            return
        call.samples = [_sample(call, index) for index in range(call.request.n or 1)]
        heard: asyncio.Queue[tuple[Call, Event | BaseException]] = asyncio.Queue()
        tasks = [asyncio.create_task(_run(sample, next_, heard)) for sample in call.samples]
        try:
            async with aclosing(_in_order(call.samples, heard)) as events:
                async for event in events:
                    yield event
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.shield(asyncio.wait(tasks))
        yield Answers(answers=call.partials("error"))

    return stage


def _sample(call: Call, index: int) -> Call:
    """The call of sample `index`. Only the first one continues the conversation."""
    seed = call.request.seed
    request = msgspec.structs.replace(call.request, n=None, seed=None if seed is None else (seed + index) % SEEDS)
    return dataclasses.replace(
        call, request=request, index=index,
        origin=msgspec.structs.replace(call.origin, conversation=None) if index else call.origin,
        work=Generation() if index else call.work, cleanup=AsyncExitStack(), samples=[], outcome=None,
    )  # fmt: skip


async def _run(sample: Call, next_: Stage, heard: "asyncio.Queue[tuple[Call, Event | BaseException]]") -> None:
    """Puts the events of one sample into the queue, and its failure too."""
    try:
        async with aclosing(next_(sample)) as events:
            async for event in events:
                heard.put_nowait((sample, event))
    except Exception as error:  # noqa: BLE001 - raised again in the task of the request
        heard.put_nowait((sample, error))


async def _in_order(
    samples: list[Call], heard: "asyncio.Queue[tuple[Call, Event | BaseException]]"
) -> AsyncGenerator[Event, None]:
    """Yields the deltas of the first sample as they come, and those of a later one once all before it have ended."""
    waiting = [Delta(index=sample.index) for sample in samples]
    told: set[str] = set()
    flaws: list[LlmctlError] = []
    turn = 0
    while turn < len(samples):
        sample, event = await heard.get()
        if isinstance(event, Delta):
            waiting[sample.index].text += event.text
            waiting[sample.index].reasoning += event.reasoning
        elif isinstance(event, Notice):
            if event.text not in told:
                told.add(event.text)
                yield event
        else:
            _close(sample, event, flaws)
        while turn < len(samples):
            if waiting[turn].text or waiting[turn].reasoning:
                yield waiting[turn]
                waiting[turn] = Delta(index=turn)
            if samples[turn].outcome is None:
                break
            turn += 1
    if flaws:
        raise flaws[0]


def _close(sample: Call, end: Event | BaseException, flaws: list[LlmctlError]) -> None:
    if isinstance(end, Incomplete) and end.answer is not None:
        flaws.append(Incomplete(f"sample {sample.index}: {end.message}", end.hint, end.answer))
        sample.outcome = end.answer
    elif isinstance(end, BaseException):
        raise end
    else:
        assert isinstance(end, Answer)
        sample.outcome = end
