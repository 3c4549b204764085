"""A time limit on silence: ends a block when the endpoint sends no content for some seconds, even if bytes still
arrive.
"""

import asyncio
from types import TracebackType
from typing import Any

from llmctld.runtime.timeouts import expired, extend, timeout


class Silence(Exception):
    """Nothing was received for `limit` seconds."""

    def __init__(self, limit: float) -> None:
        super().__init__(f"nothing received for {limit:g} s")


class IdleLimit:
    """A `timeout` block that raises Silence. Each call of `heard` restarts the limit."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        self._scope: Any = timeout(limit)

    async def __aenter__(self) -> "IdleLimit":
        await self._scope.__aenter__()
        return self

    def restart(self) -> None:
        extend(self._scope, self._limit)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._scope.__aexit__(kind, error, trace)
        except asyncio.TimeoutError:
            if not expired(self._scope):
                raise
            raise Silence(self._limit) from None
