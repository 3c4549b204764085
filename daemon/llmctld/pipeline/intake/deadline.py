"""Stage `deadline` (`--timeout`): ends a request that takes longer than its limit, counted from its arrival."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing

from llmctl.errors import InvalidRequest, Timeout, counted
from llmctld.call.call import Call, Event, Stage
from llmctld.runtime.timeouts import expired, timeout


def deadline(next_: Stage) -> Stage:
    """Raises Timeout with the part of the answer that had been generated."""

    async def stage(call: Call) -> AsyncGenerator[Event, None]:
        limit = call.request.timeout
        if limit is not None and not limit > 0:
            raise InvalidRequest(f"timeout is {limit}; it must be above 0 seconds")
        scope = timeout(None if limit is None else limit - (time.monotonic() - call.arrived))
        try:
            async with scope, aclosing(next_(call)) as events:
                async for event in events:
                    yield event
        except asyncio.TimeoutError:
            if not expired(scope):
                raise
            answer = call.partial("timeout")
            raise Timeout(f"no complete answer within {limit:g} s ({_reached(call)})", answer=answer) from None

    return stage


def _reached(call: Call) -> str:
    tokens = call.work.usage.completion_tokens
    if tokens:
        return f"{counted(tokens, 'token')} had been generated"
    if call.work.text or call.work.reasoning:  # the engine has not told the number
        return "a part of the answer had been generated"
    return f"the request was {call.work.state}"
