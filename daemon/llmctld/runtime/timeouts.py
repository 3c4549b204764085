"""asyncio.timeout on every Python: the library's from 3.11 on, its backport on 3.10."""

import asyncio
import sys
from typing import Any

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

__all__ = ["extend", "timeout"]


def extend(scope: Any, seconds: float) -> None:
    """Restarts the limit of a `timeout` block: it ends `seconds` from now."""
    when = asyncio.get_running_loop().time() + seconds
    if sys.version_info >= (3, 11):
        scope.reschedule(when)
    else:
        scope.update(when)


def expired(scope: Any) -> bool:
    """Whether the block's limit has passed, as opposed to a TimeoutError raised inside it."""
    return bool(scope.expired() if sys.version_info >= (3, 11) else scope.expired)
