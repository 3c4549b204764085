"""The path of `embed`, from texts to vectors: the model, a place in its queue, a lease, the engine.

Vectors are neither stored nor recorded in the history.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from weakref import WeakSet

from llmctl.config import Limits, ModelEntry
from llmctl.errors import EngineFailed, InvalidRequest
from llmctl.wire import TEXTS, Embed, Embeddings, Notice
from llmctld.call.ranges import check_field
from llmctld.models.engines.handle import ModelHandle
from llmctld.models.engines.ticket import RequestRecalled, Texts
from llmctld.models.running.admission import Admission
from llmctld.models.running.residency import Residency
from llmctld.pipeline.compute.attempts import Attempts

Choose = Callable[[str | None], Awaitable[ModelEntry]]


class Embedding:
    """`choose`: the embedding model with a name, or the default one for None."""

    def __init__(self, residency: Residency, choose: Choose, limits: Limits) -> None:
        self._residency, self._choose, self._limits = residency, choose, limits
        self._admission = Admission(residency, limits.queue)
        self._told: WeakSet[ModelHandle] = WeakSet()

    async def entry(self, request: Embed) -> ModelEntry:
        """The model that will compute a request. Raises InvalidRequest, ModelUnavailable."""
        self._check(request)
        return await self._choose(request.model)

    async def __call__(self, request: Embed) -> AsyncGenerator[Notice | Embeddings, None]:
        """Raises InvalidRequest, Busy, ModelUnavailable, EngineFailed."""
        entry = await self.entry(request)
        with self._admission.place(entry):
            if not self._residency.is_loaded(entry):
                yield Notice(text=self._residency.wait_notice(entry))
            notices: list[str] = []
            found = await self._compute(entry, request, notices)
            for text in notices:
                yield Notice(text=text)
            yield found

    def _check(self, request: Embed) -> None:
        check_field("user", request.user)
        if not 1 <= len(request.texts) <= TEXTS:
            raise InvalidRequest(f"there are {len(request.texts)} texts; it must be between 1 and {TEXTS}")
        size = max(len(text.encode()) for text in request.texts)
        if size > self._limits.prompt_bytes:
            message = f"a text has {size} bytes; limits.prompt_bytes is {self._limits.prompt_bytes}"
            raise InvalidRequest(message, "Shorten it, or raise `limits.prompt_bytes` in the configuration.")

    async def _compute(self, entry: ModelEntry, request: Embed, notices: list[str]) -> Embeddings:
        """`notices`: receives what there is to say about the model, once per load."""
        attempts = Attempts(entry, "a batch of texts")
        while True:
            try:
                return await self._attempt(entry, request, notices)
            except (RequestRecalled, EngineFailed) as error:
                attempts.failed(error)
                notices.clear()  # the next engine reports the same

    async def _attempt(self, entry: ModelEntry, request: Embed, notices: list[str]) -> Embeddings:
        async with self._residency.lease(entry) as worker:
            if worker.loaded and worker not in self._told:
                self._told.add(worker)
                notices += worker.loaded.notices
            began = time.monotonic()
            ticket = worker.submit(Texts(id=0, texts=request.texts, prompt=request.prompt))
            try:
                async for _ in ticket:
                    pass
            finally:
                await asyncio.shield(ticket.drop())  # a second cancel must not leave the engine computing
        assert ticket.embedded is not None
        assert worker.loaded is not None
        found = ticket.embedded
        return Embeddings(
            model=entry.name,
            dimension=worker.loaded.dimension,
            vectors=found.vectors,
            tokens=found.tokens,
            seconds=round(time.monotonic() - began, 6),
            flaws=found.flaws,
        )
