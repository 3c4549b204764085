"""Stage `given`: an answer that the user had already takes the place of a computed one, and is checked and stored like it."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from llmctl.wire import Delta
from llmctld.call import Call, Event, Stage


def given(next_: Stage) -> Stage:
    """No model is loaded for it, and it cost nothing that is known."""

    async def stage(call: Call) -> AsyncGenerator[Event, None]:
        if call.given is None:
            async with aclosing(next_(call)) as events:
                async for event in events:
                    yield event
            return
        call.work.text = call.given
        yield Delta(text=call.given)
        yield call.answer(call.given, None, "stop", call.work.usage, call.work.timings)

    return stage
