"""Requests about the hub itself: `daemon status`, `ps`, `daemon stop`."""

import os
import time

from llmctl import __version__, wire
from llmctl.errors import InvalidRequest
from llmctld.handlers.hub import Hub, Tell


async def status(hub: Hub, request: wire.Status, tell: Tell) -> wire.HubStatus:
    return wire.HubStatus(
        state="running", pid=os.getpid(), version=__version__, protocol=wire.PROTOCOL,
        uptime_s=round(time.monotonic() - hub.started, 3), socket=hub.socket, models=hub.residency.names,
        requests_in_flight=hub.requests.in_flight(),
    )  # fmt: skip


async def ps(hub: Hub, request: wire.Ps, tell: Tell) -> wire.Engines:
    return wire.Engines(engines=hub.residency.statuses())


async def stop(hub: Hub, request: wire.Stop, tell: Tell) -> wire.Stopped:
    if not request.timeout >= 0:  # NaN too
        raise InvalidRequest(f"timeout is {request.timeout}; it must be 0 seconds or more")
    return wire.Stopped(cancelled=await hub.requests.stop(request.timeout))
