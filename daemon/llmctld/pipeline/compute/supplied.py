"""Stage `supplied`: the user brings the answer (`cache warm`), so it is not computed; it is checked and stored like any other."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from llmctl.wire import Delta
from llmctld.call.call import Call, Event, Stage


def supplied(next_: Stage) -> Stage:
    """Loads no model."""

    async def stage(call: Call) -> AsyncGenerator[Event, None]:
        if call.supplied is None:
            async with aclosing(next_(call)) as events:
                async for event in events:
                    yield event
            return
        call.work.text = call.supplied
        yield Delta(text=call.supplied)
        yield call.answer(call.supplied, None, "stop", call.work.usage, call.work.timings)

    return stage
