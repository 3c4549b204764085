"""The parts of the hub that handlers use, and the one signature of a handler.

It holds parts and does nothing with them.
"""

import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from llmctl import wire
from llmctld.cache.levels.tiers import Tiers
from llmctld.cache.prefetch.prefetch import Prefetcher
from llmctld.call.call import Call, Stage
from llmctld.history import History
from llmctld.inside.background import Background
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.found.file_contents import FileContents
from llmctld.models.memory.estimate import Estimates
from llmctld.models.pull.pull import Puller
from llmctld.models.running.residency import Residency
from llmctld.money.spending.accounts import Accounts
from llmctld.pipeline.reuse.semantic import SemanticCache
from llmctld.requests import Requests
from llmctld.runtime.counters import Counters
from llmctld.storage.watch import Watch


@dataclass(kw_only=True)
class Hub:
    """Everything a handler may use. Built once, by app.py."""

    socket: str
    requests: Requests
    counters: Counters
    pipeline: Stage
    embedding: Callable[[wire.Embed], AsyncGenerator[wire.Notice | wire.Embeddings, None]]
    catalog: Catalog
    residency: Residency
    tiers: Tiers
    history: History
    accounts: Accounts
    puller: Puller
    estimates: Estimates
    file_contents: FileContents
    background: Background
    semantic: SemanticCache
    watch: Watch = field(default_factory=Watch)
    prefetch: Prefetcher | None = None
    started: float = field(default_factory=time.monotonic)


Tell = Callable[[wire.Delta | wire.Notice | wire.Progress], None]
"""Sends a reply that is not the final one. It never blocks."""
S = TypeVar("S", bound="wire.Request | Call")
Handler = Callable[[Hub, S, Tell], Coroutine[Any, Any, wire.AnyResult]]
"""Takes the request (or the Call that was made of it), tells what happens on the way, and returns the result or raises."""
