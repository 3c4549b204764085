"""Dies on purpose, by the signal that a crashing library would die of: for tests on processors where none crashes.

LLMCTL_ENGINE_CRASH holds `SIGNAL@MOMENT:WHERE`, several with commas between: `SIGSEGV@proof:as it is,SIGILL@proof:no AMX`.
MOMENT is one of `load` (before the weights are read), `proof` (the first decode, before Ready), `batch` (the first batch
of a request), `late` (the first one after a request has ended), `kernel` (a trial of the doctor). WHERE is the name of a rung,
or of a trial; `*` is each of them; `:NAME` behind it means that model alone. Where the variable is not set nothing happens.
"""

import os
import signal
from collections.abc import Callable
from typing import Any

VARIABLE = "LLMCTL_ENGINE_CRASH"


def planned(moment: str, where: str, name: str = "") -> int | None:
    """The signal to die of then and there."""
    places = {f"{moment}:{place}{model}" for place in (where, "*") for model in ("", f":{name}")}
    for plan in filter(None, os.environ.get(VARIABLE, "").split(",")):
        number, _, place = plan.strip().partition("@")
        if place in places:
            return signal.Signals[number]
    return None


def at(moment: str, where: str, name: str = "") -> None:
    if (number := planned(moment, where, name)) is not None:
        os.kill(os.getpid(), number)


def arm(model: Any, works: str, ends: str, where: str, name: str) -> None:
    """Makes the method `works` of a loaded model the end of it, at its first call or at the first after one of `ends`."""
    first, late = planned("batch", where, name), planned("late", where, name)
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
