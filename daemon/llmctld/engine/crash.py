"""Crashes on purpose, by the signal that a crashing library would cause. For tests on processors where no kernel crashes.

LLMCTL_ENGINE_CRASH holds `SIGNAL@MOMENT:WHERE`, comma-separated: `SIGSEGV@proof:as it is,SIGILL@proof:no AMX`. MOMENT is `load`
(before the weights are read), `proof` (the first decode, before Ready), `batch` (the first batch of a request), `late` (the first
batch after a request has ended) or `kernel` (a trial of the doctor). WHERE is the name of a rung or of a trial; `*` matches all.
A trailing `:NAME` limits it to that model.
"""

import os
import signal
from collections.abc import Callable
from typing import Any

VARIABLE = "LLMCTL_ENGINE_CRASH"


def planned_signal(moment: str, where: str, name: str = "") -> int | None:
    """The signal to crash with at this moment, or None."""
    places = {f"{moment}:{place}{model}" for place in (where, "*") for model in ("", f":{name}")}
    for plan in filter(None, os.environ.get(VARIABLE, "").split(",")):
        number, _, place = plan.strip().partition("@")
        if place in places:
            return signal.Signals[number]
    return None


def crash_at(moment: str, where: str, name: str = "") -> None:
    if (number := planned_signal(moment, where, name)) is not None:
        os.kill(os.getpid(), number)


def arm(model: Any, works: str, ends: str, where: str, name: str) -> None:
    """Make the method `works` of a loaded model crash, at its first call or at the first after a call of `ends`."""
    first, late = planned_signal("batch", where, name), planned_signal("late", where, name)
    if first is not None:
        _before(model, works, lambda: os.kill(os.getpid(), first))
    elif late is not None:
        ended: list[None] = []
        _before(model, works, lambda: os.kill(os.getpid(), late) if ended else None)
        _after(model, ends, lambda: ended.append(None))


def _before(model: Any, name: str, act: Callable[[], None]) -> None:
    method = getattr(model, name)

    def acting(*given: Any, **more: Any) -> Any:
        act()
        return method(*given, **more)

    setattr(model, name, acting)


def _after(model: Any, name: str, act: Callable[[], None]) -> None:
    method = getattr(model, name)

    def acting(*given: Any, **more: Any) -> Any:
        try:
            return method(*given, **more)
        finally:
            act()

    setattr(model, name, acting)
