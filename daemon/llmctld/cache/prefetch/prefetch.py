"""The loop of prefetch: what a user is likely to ask next is computed once nobody waits, within a budget, while that pays.

It sees requests by their keys, asks a callable to compute one again, and knows neither pipeline nor models. What it does
on a user's way is a few look-ups in memory; the disk is written to once a second.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from llmctl.config import Prefetch as Settings
from llmctl.errors import ConfigError, LlmctlError, Storage
from llmctl.wire import PrefetchStats
from llmctld.cache.entries.book import Which
from llmctld.cache.prefetch.payoff import CHANCE, HORIZON_S, Payoff, PendingAnswer
from llmctld.cache.prefetch.sequences import Place, Prediction, Sequences
from llmctld.cache.prefetch.store import KeptRequest, PrefetchStore
from llmctld.storage.files import set_aside
from llmctld.storage.store import IN_MEMORY
from llmctld.watch import log

SAVE_S = 1.0
"""How much of what was learned a SIGKILL may take."""
RENEW_S = 3600.0
"""A request that is asked again is written again when that lets it be kept for so much longer."""
VARIABLE = "LLMCTL_PREFETCH_ANSWER_S"
"""Seconds that every computation counts as, for tests: whether prefetch pays must not depend on other programs."""
MARGIN = 2.0
"""What is stored must last for so many times as long as it usually takes until it is asked for."""


def fixed_s(environ: Mapping[str, str]) -> float | None:
    """Parse `LLMCTL_PREFETCH_ANSWER_S`. None if unset or empty. Raises ConfigError."""
    if not (said := environ.get(VARIABLE)):
        return None
    try:
        return float(said)
    except ValueError:
        raise ConfigError(
            f"{VARIABLE} is {said!r}, but must be a number of seconds", "Unset it: it is for tests."
        ) from None


class NotNow(Exception):
    """What was to be computed beforehand cannot be at this moment, and cost nothing: its model is not loaded."""


class Computed(NamedTuple):
    """An answer that was computed beforehand, and when it expires (seconds since 1970; None: it was not stored)."""

    key: str
    expires: float | None


class Answered(NamedTuple):
    """A user's request that was answered: from what is stored under `used` (which is `key`, or that of a question like it),
    or `boarded` while it was computed. `takes`: what is stored would be served.

    `created` is when the answer was computed. `body` makes the request once more, None where it is not to be asked again.
    """

    group: str
    person: str
    key: str
    at: float
    created: float
    takes: bool
    used: str | None
    boarded: bool
    model: str
    tags: list[str]
    body: Callable[[], bytes] | None


async def opened(path: Path, make: "Callable[[PrefetchStore], Prefetch]") -> "Prefetch":
    """With what was kept in `path`. A damaged file is put aside; where none can be had, nothing is kept over a restart."""
    news: list[str] = []
    for _ in range(2):
        try:
            return await _opened(PrefetchStore(path), make, news)
        except LlmctlError as error:
            aside = None
            if isinstance(error, Storage):  # a newer version's is that one's still
                with suppress(OSError):
                    aside = set_aside(path)
            if aside is None:
                log.warning("prefetch keeps nothing", error=error.message)
                news.append(f"what prefetch learns is not kept over a restart: {error.message}")
                break
            log.warning("the file of prefetch is begun anew", moved_to=str(aside), error=error.message)
            news.append(f"what prefetch had learned was damaged and is begun anew; the old file is now {aside}")
    return await _opened(PrefetchStore(IN_MEMORY), make, news)


async def _opened(shelf: PrefetchStore, make: "Callable[[PrefetchStore], Prefetch]", news: list[str]) -> "Prefetch":
    prefetch = make(shelf)
    prefetch.news = news
    try:
        await prefetch.open()
    except LlmctlError:
        shelf.close()
        raise
    return prefetch


class _Running(NamedTuple):
    key: str
    begun: float
    boarded: list[float]
    """When users came for it."""


class Prefetch:
    """`compute` answers and stores what a body says: None when it gave way; it may raise NotNow. `expires`: until when what is
    stored under a key is served, None: nothing is. `quiet` returns when nobody waits. `kept_s`: how long a request may be kept;
    `life_s`: how long every answer is, None: that is learned. `fixed_s`: seconds that each computation counts as, None: measured.
    """

    def __init__(
        self,
        settings: Settings,
        shelf: PrefetchStore,
        compute: Callable[[bytes], Awaitable[Computed | None]],
        expires: Callable[[str], Awaitable[float | None]],
        quiet: Callable[[], Awaitable[None]],
        kept_s: float,
        life_s: float | None = None,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        fixed_s: float | None = None,
    ) -> None:
        self._settings, self._shelf, self._compute, self._expires = settings, shelf, compute, expires
        self._life_s = float("inf") if life_s is None else life_s
        self._quiet, self._kept_s, self._clock = quiet, kept_s, clock
        self._timer, self._fixed_s = timer, fixed_s
        self.sequences, self.ledger = Sequences(), Payoff()
        self.news: list[str] = []
        """What a user should hear."""
        self._kept: dict[str, float] = {}
        """Until when each request may be asked again."""
        self._lives: dict[str, float] = {}
        """Seconds that an answer is kept for, of those that were computed beforehand."""
        self._wishes: dict[Place, tuple[Prediction, float]] = {}
        """Group and person -> what is next, and since when; the last one counts."""
        self._running: _Running | None = None
        self._unsaved: dict[str, KeptRequest] = {}
        self._wanted, self._changed = asyncio.Event(), asyncio.Event()
        self._failing = False
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Reads what was learned, and begins. Must be awaited first."""
        self.sequences, self.ledger, self._kept = await self._shelf.load(self._clock())
        self._tasks = [asyncio.create_task(self._serve()), asyncio.create_task(self._save_now_and_then())]

    async def close(self) -> None:
        """What is being computed is given up, what was learned is written."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._save()
        self._shelf.close()

    # ---- on a user's way --------------------------------------------------------------------------------------------

    def saw(self, asked: Answered) -> None:
        """A user's request was answered. Never raises, never waits."""
        if asked.boarded and self._running is not None and self._running.key == asked.key:
            self._running.boarded.append(asked.at)
        self.ledger.asked(asked.person, asked.used or asked.key, asked.used is not None, asked.at)
        step, right = self.sequences.saw(asked.group, asked.person, asked.key, asked.at, asked.takes)
        self.ledger.stepped(step.chance if step else 0.0, right)
        self._keep(asked)
        guess = self.sequences.guess(asked.group, asked.key)
        place = (asked.group, asked.person)
        self._wishes.pop(place, None)
        if guess is not None and guess.chance >= CHANCE and self._may(asked.at) and guess.key in self._kept:
            self._wishes[place] = (guess, asked.at)
            self._wanted.set()
        self._changed.set()

    def _keep(self, asked: Answered) -> None:
        until = asked.at + self._kept_s
        if asked.body is not None and until - self._kept.get(asked.key, 0.0) > min(RENEW_S, self._kept_s / 10):
            self._kept[asked.key] = until
            self._unsaved[asked.key] = KeptRequest(
                asked.key, asked.person, asked.model, asked.tags, asked.created, asked.at, until, asked.body()
            )

    def _may(self, at: float) -> bool:
        return self.ledger.stopped is None and self.ledger.left(self._settings.budget_per_hour, at) > 0

    @property
    def busy(self) -> bool:
        """Whether anything is computed, or is about to be."""
        return bool(self._wishes) or self._running is not None or self._wanted.is_set()

    # ---- while nobody waits -----------------------------------------------------------------------------------------

    async def _serve(self) -> None:
        while True:
            await self._wanted.wait()
            await self._quiet()
            if not self._wishes:
                self._wanted.clear()
                continue
            place = max(self._wishes, key=lambda place: self._wishes[place][0].chance)
            guess, since = self._wishes.pop(place)
            try:
                await self._fulfil(place[1], guess, since)
            except Exception:  # noqa: BLE001 - a background loop: the next one may be computed
                log.exception("an answer could not be computed beforehand")
            self._running = None

    async def _fulfil(self, person: str, guess: Prediction, since: float) -> None:
        now, key = self._clock(), guess.key
        if not self._may(now) or guess.gap >= self._lives.get(key, self._life_s):
            return  # what expires before it is asked for helps nobody
        there = await self._expires(key)
        if there is not None and there > since + MARGIN * guess.gap:
            return
        body = self._unsaved[key].body if key in self._unsaved else await self._shelf.body(key)
        if body is None:
            self._kept.pop(key, None)
            return
        self._running, begun = _Running(key, now, []), self._timer()
        try:
            computed = await self._compute(body)
        except LlmctlError as error:  # it would fail again: it is not tried again before somebody asks it
            log.info("an answer could not be computed beforehand", code=error.code)
            await self._drop({key})
            return
        except NotNow:
            return
        seconds = self._timer() - begun if self._fixed_s is None else self._fixed_s
        self._note(person, key, computed, seconds, there or 0.0)

    def _note(self, person: str, key: str, computed: Computed | None, seconds: float, before: float) -> None:
        """What the computation came to; an answer that did not get where it was meant to is waste."""
        assert self._running is not None
        now, boarded, ledger = self._clock(), self._running.boarded, self.ledger
        ledger.began(now)
        if computed is None or computed.key != key or computed.expires is None:
            ledger.gave_way(seconds, now)
        elif boarded:
            ledger.boarded(min(seconds, max(0.0, min(boarded) - self._running.begun)), now)
        else:
            self._lives[key] = computed.expires - now
            ledger.computed(key, PendingAnswer(person, seconds, min(computed.expires, now + HORIZON_S), before), now)
        self._changed.set()

    # ---- what is kept -----------------------------------------------------------------------------------------------

    async def forget(self, which: Which) -> None:
        """Requests whose answers the user has removed, and all that is known about them."""
        await self._save()
        keys = await self._shelf.select(which, self._clock())
        self.sequences.forget(keys)
        self.ledger.forget(keys)
        await self._drop(keys)
        await self._save()

    async def _drop(self, keys: set[str]) -> None:
        for key in keys:
            self._kept.pop(key, None)
            self._unsaved.pop(key, None)
        await self._shelf.remove(keys)

    async def _save_now_and_then(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(SAVE_S)
            await self._save()

    async def _save(self) -> None:
        self._changed.clear()
        requests, self._unsaved = self._unsaved, {}
        try:
            if self._shelf.lost():
                await self._begin_anew(requests.values())
            changed, self.sequences.changed = self.sequences.changed, set()
            rows = {place: self.sequences.rows.get(place) for place in changed}
            await self._shelf.save(requests.values(), rows, self.ledger, self.sequences.trust)
            self._failing = False
        except LlmctlError as error:
            if not self._failing:
                log.warning("what was learned for prefetch cannot be kept", error=error.message)
            self._failing = True

    async def _begin_anew(self, requests: Iterable[KeptRequest]) -> None:
        """Somebody removed the file: what is known is written once more, and other requests when they are asked again."""
        log.warning("the file of prefetch was removed from outside")
        self._shelf = await asyncio.to_thread(self._shelf.anew)
        self._kept = {request.key: request.until for request in requests}
        self.sequences.changed |= self.sequences.rows.keys()

    # ---- how it stands ----------------------------------------------------------------------------------------------

    def stats(self) -> PrefetchStats:
        now, budget, ledger = self._clock(), self._settings.budget_per_hour, self.ledger
        ledger.sweep(now)
        left = ledger.left(budget, now)
        reason = ledger.why()
        state = "on" if reason is None else "stopped"
        if not budget:
            reason = "cache.prefetch.budget_per_hour is 0: nothing may be computed"
        elif state == "on" and not left:
            reason = f"all {budget} of this hour (cache.prefetch.budget_per_hour) are computed"
        return PrefetchStats(
            state=state if budget else "stopped", reason=reason, prefetched=ledger.prefetched, used=ledger.used,
            wasted=ledger.wasted, waiting=len(ledger.open), gain_s=round(ledger.gain_s, 3),
            waste_s=round(ledger.waste_s, 3), budget_left=left, busy=self.busy,
        )  # fmt: skip
