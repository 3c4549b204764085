"""Connects the levels to the lifetime prediction and to reuse counts, and stores both in a file.

Decides nothing about what is stored where.
"""

import asyncio
import time
from pathlib import Path
from typing import Any

import msgspec

from llmctl.regular import read_json
from llmctld.cache.entries.book import EntryRow, digest_of
from llmctld.cache.entries.context import Reuse
from llmctld.cache.level import Stored
from llmctld.cache.lifetimes.lifetime import Lifetimes
from llmctld.runtime.clock import WallClock
from llmctld.runtime.log import log
from llmctld.storage.loss import LossRule
from llmctld.storage.state_file import StateFile

LONGEST_S = 400 * 86400.0
"""Longest time between two answers from which a lifetime is learned."""
SAVE_S = 1.0
"""Changes within this time are written together."""
MOST_BYTES = 256 * 2**20
"""Size of the stored state; a larger one is damaged."""
ASKED = 20_000
"""Keys whose predicted limit is cached."""


class SavedState(msgspec.Struct):
    lifetimes: msgspec.Raw
    reuse: msgspec.Raw


class Learned:
    """`ttl`: seconds fixed by `cache.ttl`; None: predicted. Constructing it reads `path` and may block."""

    def __init__(self, path: Path, ttl: float | None = None, clock: WallClock | None = None) -> None:
        self._path, self._ttl, self._clock = path, ttl, clock or WallClock()
        self.news: list[str] = []
        """Notices for the user."""
        rule = LossRule(
            "the file of learned lifetimes", self.news.append, "learning starts anew", "it is written again"
        )
        self._file = StateFile(path, rule, self._state)
        saved = self._load()
        self.lifetimes = Lifetimes(bytes(saved.lifetimes) if saved else None)
        self.reuse = Reuse(bytes(saved.reuse) if saved else None)
        self._limits: dict[str, tuple[int, float]] = {}
        """Key -> (revision of the prediction, predicted limit)."""
        self._saving: asyncio.Task[None] | None = None

    def _load(self) -> SavedState | None:
        try:
            return read_json(self._path, SavedState, MOST_BYTES)
        except FileNotFoundError:
            return None
        except OSError as error:
            log.warning("the learned lifetimes of the cache cannot be read", error=str(error))
            return None
        except ValueError as error:
            self._file.set_damaged_aside(error)
            return None

    # ---- called by the levels ---------------------------------------------------------------------------------------

    def lifetime(self, key: str, answer: Stored) -> float:
        """Seconds that a new answer of `key` is stored."""
        self._limits.pop(key, None)
        return self.lifetimes.predict(key, answer.about.kind).seconds

    def limit(self, key: str, answer: Stored) -> float:
        """Maximum age in seconds at which a stored answer is served: the prediction may have changed since it was
        stored.
        """
        if self._ttl is not None:
            return self._ttl
        revision = self.lifetimes.revision(answer.about.kind)
        known = self._limits.get(key)
        if known is None or known[0] != revision:
            known = self._limits[key] = (revision, self.lifetimes.predict(key, answer.about.kind).holds)
            if len(self._limits) > ASKED:
                del self._limits[next(iter(self._limits))]
        return known[1]

    def recomputed(self, before: EntryRow, answer: Stored) -> None:
        """`before`: metadata of the previous answer."""
        changed = before.digest != digest_of(answer)
        age = answer.created - before.created
        if 0 <= age <= LONGEST_S and not self._clock.was_set():  # otherwise the age is not known
            self.lifetimes.recomputed(before.key, answer.about.kind, age, changed, before.hits, answer.first.model)
        self._limits.pop(before.key, None)
        self.save_soon()

    def explain(self, key: str, answer: Stored) -> dict[str, Any]:
        """The lifetime section of `cache show`. Times in seconds."""
        found = self.lifetimes.predict(key, answer.about.kind)
        source = "fixed" if self._ttl is not None else "learned" if found.learned else "start"
        seconds = found.seconds if self._ttl is None else self._ttl
        probe = found.probe if self._ttl is None else None
        left = answer.created + (seconds if probe is None else min(seconds, probe)) - time.time()
        return {
            "seconds": round(seconds, 3),
            "from": source,
            "kind": found.kind,
            "left_s": round(max(0.0, left), 3),
            "probe_s": probe and round(probe, 3),
            "observations": [{"age_s": one.age, "changed": one.changed} for one in found.observations],
            "kind_observations": found.kind_observations,
        }

    # ---- the file ---------------------------------------------------------------------------------------------------

    def look(self) -> None:
        """Notices that the file is lost (storage/watch.py)."""
        self._file.look()

    def save_soon(self) -> None:
        """Needs a running event loop."""
        if self._saving is None or self._saving.done():
            self._saving = asyncio.get_running_loop().create_task(self._save_later())

    async def close(self) -> None:
        """Writes pending changes."""
        if self._saving is not None:
            self._saving.cancel()
            await asyncio.wait([self._saving])
        await asyncio.to_thread(self._write, self._state())

    async def _save_later(self) -> None:
        await asyncio.sleep(SAVE_S)
        await asyncio.to_thread(self._write, self._state())

    def _state(self) -> bytes:
        return msgspec.json.encode(SavedState(msgspec.Raw(self.lifetimes.state()), msgspec.Raw(self.reuse.state())))

    def _write(self, state: bytes) -> None:
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file.write(state)
        except OSError as error:
            log.warning("the learned lifetimes of the cache cannot be stored", error=str(error))
