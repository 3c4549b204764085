"""The prefetch loop: computes a user's likely next request while the hub is idle, within a budget, as long as that
pays.

Identifies requests by key and calls a function to compute one; knows neither pipeline nor models. On a user's path it
does a few lookups in memory; it writes to disk once per second.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from llmctl.config import Prefetch as Settings
from llmctl.errors import ConfigError, LlmctlError, Storage
from llmctl.wire import PrefetchStats
from llmctld.cache.entries.selection import EntryFilter
from llmctld.cache.prefetch.payoff import CHANCE, HORIZON_S, Payoff, PendingAnswer
from llmctld.cache.prefetch.sequences import NextRequest, Place, Sequences
from llmctld.cache.prefetch.store import PrefetchStore, StoredRequest
from llmctld.runtime.log import log
from llmctld.storage.files import set_aside
from llmctld.storage.store import IN_MEMORY

SAVE_S = 1.0
"""Seconds of learning that SIGKILL may lose."""
RENEW_S = 3600.0
"""A repeated request is written again if that extends its storage by this much."""
VARIABLE = "LLMCTL_PREFETCH_ANSWER_S"
"""Fixed seconds per computation, for tests: whether prefetch pays must not depend on the machine's load."""
MARGIN = 2.0
"""An answer must last this many times the usual time until it is requested."""


def parse_answer_s(environ: Mapping[str, str]) -> float | None:
    """Parse `LLMCTL_PREFETCH_ANSWER_S`. None if unset or empty. Raises ConfigError."""
    if not (said := environ.get(VARIABLE)):
        return None
    try:
        return float(said)
    except ValueError:
        raise ConfigError(
            f"{VARIABLE} is {said!r}, but must be a number of seconds", "Unset it; it is for tests only."
        ) from None


class NotNow(Exception):
    """The computation cannot run now and has cost nothing: its model is not loaded."""


class Computed(NamedTuple):
    """A prefetched answer and its expiry in Unix time; None: it was not stored."""

    key: str
    expires: float | None


class Answered(NamedTuple):
    """A user's request that was answered from the entry `used` (`key` or that of a similar question), or by joining a
    computation (`boarded`). `takes`: a stored answer would be served.

    `created`: when the answer was computed. `body`: to repeat the request; None if it must not be repeated.
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


async def open_prefetcher(path: Path, make: "Callable[[PrefetchStore], Prefetcher]") -> "Prefetcher":
    """The prefetch loop with the state in `path`. A damaged file is set aside; if none can be opened, nothing is
    stored.
    """
    news: list[str] = []
    for _ in range(2):
        try:
            return await _opened(PrefetchStore(path), make, news)
        except LlmctlError as error:
            aside = None
            if isinstance(error, Storage):  # a file of a newer version is left alone
                with suppress(OSError):
                    aside = set_aside(path)
            if aside is None:
                log.warning("prefetch stores nothing", error=error.message)
                news.append(f"prefetch cannot store what it learns: {error.message}")
                break
            log.warning("the file of prefetch is replaced", moved_to=str(aside), error=error.message)
            news.append(
                f"the learned sequences of prefetch were damaged and have been discarded; the old file is now {aside}"
            )
    return await _opened(PrefetchStore(IN_MEMORY), make, news)


async def _opened(store: PrefetchStore, make: "Callable[[PrefetchStore], Prefetcher]", news: list[str]) -> "Prefetcher":
    prefetch = make(store)
    store.news[:0], prefetch.news = news, store.news  # the store adds to this list
    try:
        await prefetch.open()
    except LlmctlError:
        store.close()
        raise
    return prefetch


class _Running(NamedTuple):
    key: str
    begun: float
    boarded: list[float]
    """Times at which users' requests joined it."""


class Prefetcher:
    """`compute`: computes and stores the answer of a body; None if it was cancelled for a user; may raise NotNow.
    `expires`: expiry of the entry of a key, None without one. `quiet`: returns when no request is waiting.
    `kept_s`: how long a request may be stored. `life_s`: fixed lifetime of answers, None: learned. `fixed_s`: fixed
    seconds per computation, None: measured.
    """

    def __init__(
        self,
        settings: Settings,
        store: PrefetchStore,
        compute: Callable[[bytes], Awaitable[Computed | None]],
        expires: Callable[[str], Awaitable[float | None]],
        quiet: Callable[[], Awaitable[None]],
        kept_s: float,
        life_s: float | None = None,
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
        fixed_s: float | None = None,
    ) -> None:
        self._settings, self._store, self._compute, self._expires = settings, store, compute, expires
        self._life_s = float("inf") if life_s is None else life_s
        self._quiet, self._kept_s, self._clock = quiet, kept_s, clock
        self._timer, self._fixed_s = timer, fixed_s
        self.sequences, self.payoff = Sequences(), Payoff()
        self.news = store.news
        """Notices for the user."""
        store.when_lost = self._write_again
        self._kept: dict[str, float] = {}
        """Key -> until when the request may be repeated."""
        self._lives: dict[str, float] = {}
        """Key -> lifetime in seconds of its prefetched answer."""
        self._wishes: dict[Place, tuple[NextRequest, float]] = {}
        """Group and person -> (prediction, its time); the last one counts."""
        self._running: _Running | None = None
        self._unsaved: dict[str, StoredRequest] = {}
        self._wanted, self._changed = asyncio.Event(), asyncio.Event()
        self._failing = False
        self._tasks: list[asyncio.Task[None]] = []

    async def open(self) -> None:
        """Reads the stored state and starts. Must be awaited first."""
        self.sequences, self.payoff, self._kept = await self._store.load(self._clock())
        self._tasks = [asyncio.create_task(self._serve()), asyncio.create_task(self._save_now_and_then())]

    async def close(self) -> None:
        """Cancels the current computation and stores the state."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._save()
        self._store.close()

    # ---- on a user's path -------------------------------------------------------------------------------------------

    def add_request(self, asked: Answered) -> None:
        """A user's request was answered. Never raises or waits."""
        if asked.boarded and self._running is not None and self._running.key == asked.key:
            self._running.boarded.append(asked.at)
        self.payoff.add_request(asked.person, asked.used or asked.key, asked.used is not None, asked.at)
        step, right = self.sequences.add_request(asked.group, asked.person, asked.key, asked.at, asked.takes)
        self.payoff.add_prediction(step.chance if step else 0.0, right)
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
        kept = self._kept.get(asked.key, 0.0)
        if asked.body is not None and abs(until - kept) > min(
            RENEW_S, self._kept_s / 10
        ):  # later, or the clock was set back
            self._kept[asked.key] = until
            self._unsaved[asked.key] = StoredRequest(
                asked.key, asked.person, asked.model, asked.tags, asked.created, asked.at, until, asked.body()
            )

    def _may(self, at: float) -> bool:
        return self.payoff.stopped is None and self.payoff.starts_left(self._settings.budget_per_hour, at) > 0

    @property
    def is_busy(self) -> bool:
        """Whether something is being computed, or about to be."""
        return bool(self._wishes) or self._running is not None or self._wanted.is_set()

    # ---- while the hub is idle --------------------------------------------------------------------------------------

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
            except Exception:  # noqa: BLE001 - a background loop: the next computation may succeed
                log.exception("an answer cannot be prefetched")
            self._running = None

    async def _fulfil(self, person: str, guess: NextRequest, since: float) -> None:
        now, key = self._clock(), guess.key
        if not self._may(now) or guess.gap >= self._lives.get(key, self._life_s):
            return  # it would expire before it is requested
        there = await self._expires(key)
        if there is not None and there > since + MARGIN * guess.gap:
            return
        body = self._unsaved[key].body if key in self._unsaved else await self._store.body(key)
        if body is None:
            self._kept.pop(key, None)
            return
        self._running, begun = _Running(key, now, []), self._timer()
        try:
            computed = await self._compute(body)
        except LlmctlError as error:  # it would fail again: not retried until a user asks it
            log.info("an answer cannot be prefetched", code=error.code)
            await self._drop({key})
            return
        except NotNow:
            return
        seconds = self._timer() - begun if self._fixed_s is None else self._fixed_s
        self._note(person, key, computed, seconds, there or 0.0)

    def _note(self, person: str, key: str, computed: Computed | None, seconds: float, before: float) -> None:
        """Records the result of a computation; an answer that was not stored under its key is waste."""
        assert self._running is not None
        now, boarded, payoff = self._clock(), self._running.boarded, self.payoff
        payoff.add_start(now)
        if computed is None or computed.key != key or computed.expires is None:
            payoff.add_cancelled(seconds, now)
        elif boarded:
            payoff.add_joined(min(seconds, max(0.0, min(boarded) - self._running.begun)), now)
        else:
            self._lives[key] = computed.expires - now
            payoff.add_prefetched(
                key, PendingAnswer(person, seconds, min(computed.expires, now + HORIZON_S), before), now
            )
        self._changed.set()

    # ---- storage ----------------------------------------------------------------------------------------------------

    async def forget(self, selection: EntryFilter) -> None:
        """Deletes requests whose answers the user has removed, and what was learned about them."""
        await self._save()
        keys = await self._store.select(selection, self._clock())
        self.sequences.forget(keys)
        self.payoff.forget(keys)
        await self._drop(keys)
        await self._save()

    async def _drop(self, keys: set[str]) -> None:
        for key in keys:
            self._kept.pop(key, None)
            self._unsaved.pop(key, None)
        await self._store.remove(keys)

    async def _save_now_and_then(self) -> None:
        while True:
            await self._changed.wait()
            await asyncio.sleep(SAVE_S)
            await self._save()

    async def _save(self) -> None:
        self._changed.clear()
        requests, self._unsaved = self._unsaved, {}
        try:
            changed, self.sequences.changed = self.sequences.changed, set()
            rows = {place: self.sequences.rows.get(place) for place in changed}
            await self._store.save(requests.values(), rows, self.payoff, self.sequences.trust)
            self._failing = False
        except LlmctlError as error:
            if not self._failing:
                log.warning("the state of prefetch cannot be stored", error=error.message)
            self._failing = True

    def _write_again(self) -> None:
        """The file was begun anew: the known state is written again. Other requests are written when they are repeated."""
        self._kept = {request.key: request.until for request in self._unsaved.values()}
        self.sequences.changed |= self.sequences.rows.keys()
        self._changed.set()

    def look(self) -> None:
        """Notices that the file is lost (storage/watch.py)."""
        self._store.look()

    # ---- state ------------------------------------------------------------------------------------------------------

    def stats(self) -> PrefetchStats:
        now, budget, payoff = self._clock(), self._settings.budget_per_hour, self.payoff
        payoff.sweep(now)
        left = payoff.starts_left(budget, now)
        reason = payoff.stop_reason()
        state = "on" if reason is None else "stopped"
        if not budget:
            reason = "cache.prefetch.budget_per_hour is 0, so nothing is computed"
        elif state == "on" and not left:
            reason = f"all {budget} computations of this hour are used (cache.prefetch.budget_per_hour)"
        return PrefetchStats(
            state=state if budget else "stopped", reason=reason, prefetched=payoff.prefetched, used=payoff.used,
            wasted=payoff.wasted, waiting=len(payoff.open), gain_s=round(payoff.gain_s, 3),
            waste_s=round(payoff.waste_s, 3), budget_left=left, busy=self.is_busy,
        )  # fmt: skip
