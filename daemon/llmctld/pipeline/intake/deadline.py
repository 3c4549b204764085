"""Stage `deadline`: a request's own time limit, from its arrival, over everything that lies behind; ends it as `timeout`."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from llmctl.errors import InvalidRequest, Timeout
from llmctld.call.call import Call, Event, Stage


def deadline(next_: Stage) -> Stage:
    """Raises Timeout with what had been generated. asyncio.timeout would do, but Python 3.10 has none."""

    async def stage(call: Call) -> AsyncGenerator[Event, None]:
        limit = call.request.timeout
        if limit is not None and not limit > 0:
            raise InvalidRequest(f"timeout is {limit}; it must be above 0 seconds")
        task, expired = asyncio.current_task(), False

        def expire() -> None:
            nonlocal expired
            expired = True
            assert task is not None
            task.cancel()

        loop = asyncio.get_running_loop()
        remaining = None if limit is None else limit - (time.monotonic() - call.arrived)
        timer = None if remaining is None else loop.call_later(remaining, expire)
        try:
            async with aclosing(next_(call)) as events:
                async for event in events:
                    yield event
        except asyncio.CancelledError:
            if not expired:
                raise
            answer = call.partial("timeout")
            raise Timeout(f"no complete answer within {limit:g} s ({_reached(call)})", answer=answer) from None
        finally:
            if timer is not None:
                timer.cancel()

    return stage


def _reached(call: Call) -> str:
    tokens = call.work.usage.completion_tokens
    return f"{tokens} tokens had been generated" if tokens else f"the request was {call.work.state}"
