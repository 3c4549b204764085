"""asyncio.timeout on every Python: from 3.11 on the library's, on 3.10 its backport.

It knows time limits on a task and nothing of what the task does.
"""

import asyncio
import sys
from typing import Any

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

__all__ = ["extend", "timeout"]


def extend(scope: Any, seconds: float) -> None:
    """Restarts the limit of a `timeout` block: it now ends in `seconds` from here."""
    when = asyncio.get_running_loop().time() + seconds
    if sys.version_info >= (3, 11):
        scope.reschedule(when)
    else:
        scope.update(when)


def expired(scope: Any) -> bool:
    """Whether the limit of the block has passed, as opposed to a TimeoutError raised inside it."""
    return bool(scope.expired() if sys.version_info >= (3, 11) else scope.expired)
