"""Embeds texts at an endpoint: in batches, and one by one if a batch contains a text that is too long.

Sends the requests; vectors.py reads the answers.
"""

from collections.abc import Mapping

from llmctl.errors import ContextOverflow, InvalidRequest
from llmctld.engine.messages import Embedded, Flaw, Texts
from llmctld.models.remote.http.endpoint import Endpoint
from llmctld.models.remote.vectors import CollectedVectors, pack, read_vectors, unit

BATCH_TEXTS = 64
"""Texts in one HTTP request."""


class EmbeddingRequest:
    """One request for embeddings. `prompts`: name -> text put in front. `dimension` is known after `embed`."""

    def __init__(self, endpoint: Endpoint, model: str, prompts: Mapping[str, str], normalize: bool | None) -> None:
        self._endpoint, self._model, self._prompts, self._normalize = endpoint, model, prompts, normalize
        self.dimension = 0

    async def embed(self, texts: Texts) -> Embedded:
        """Raises InvalidRequest for an unknown prompt, EngineFailed, Busy, ModelUnavailable."""
        before = self._prompt(texts.prompt)
        found = CollectedVectors(len(texts.texts))
        for start in range(0, len(texts.texts), BATCH_TEXTS):
            await self._batch(found, start, [before + text for text in texts.texts[start : start + BATCH_TEXTS]])
        self.dimension = found.dimension(self._endpoint.name)
        packed = pack(found.vectors, self.dimension)
        return Embedded(id=texts.id, vectors=packed, tokens=found.tokens, flaws=found.flaws)

    async def _batch(self, found: CollectedVectors, start: int, texts: list[str]) -> None:
        """If one of several texts is too long, each is sent alone, so that only that one fails."""
        try:
            each, tokens = await self._endpoint.persist(lambda: self._vectors(texts), lambda: False)
        except ContextOverflow as error:
            if len(texts) == 1:
                found.flaws.append(Flaw(start, error.code, error.message, error.hint))
                return
            for index, text in enumerate(texts):
                await self._batch(found, start + index, [text])
            return
        found.tokens += tokens
        found.vectors[start : start + len(texts)] = [unit(vector) if self._normalize else vector for vector in each]

    async def _vectors(self, texts: list[str]) -> tuple[list[list[float]], int]:
        body = {"model": self._model, "input": texts, "encoding_format": "float"}
        async with self._endpoint.send("POST", "/embeddings", body) as reply:
            return read_vectors(await reply.json(), len(texts), self._endpoint.name)

    def _prompt(self, name: str | None) -> str:
        if name is None:
            return ""
        if name not in self._prompts:
            there = f"It has {', '.join(self._prompts)}." if self._prompts else "`models.NAME.prompts` defines prompts."
            raise InvalidRequest(f"the model has no prompt {name!r}", there)
        return self._prompts[name]
