"""Stage `semantic`: serves the stored answer to a question of the same meaning.

The steps are: the wall (everything but the question must be equal), the nearest stored questions behind it, the guards, the
decision with its bound (`semantic/decision/bound.py`). An answer that is computed instead teaches the decision.
"""

import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import aclosing
from typing import Any, NamedTuple, TypeVar

from llmctl.config import Cache
from llmctl.errors import CacheMiss, LlmctlError, ModelUnavailable, counted
from llmctl.wire import Answer, CacheAudit, CacheUse, Delta, Embed, Embeddings, Notice
from llmctld.cache.level import Stored
from llmctld.cache.levels.tiers import Tiers
from llmctld.call.call import Call, Event, Stage
from llmctld.call.identity import wall_of
from llmctld.call.receiver import served
from llmctld.call.reuse import similar_will_do
from llmctld.models.catalogue.catalog import Catalog
from llmctld.pipeline.compute.embed import Embedding
from llmctld.runtime.log import log
from llmctld.semantic.decision.bound import Decision
from llmctld.semantic.decision.pair import Neighbour, Pair, describe
from llmctld.semantic.entries import StoredQuestion, digest, packed
from llmctld.semantic.knowledge import Knowledge
from llmctld.semantic.verify import Verifier

QUESTION_BYTES = 32_768
"""Most bytes of a question. A long text is hardly ever repeated in other words."""
NAME = "semantic"
T = TypeVar("T")


class QuestionVector(NamedTuple):
    """A question to look for. `vector`: float32, little endian, of length 1."""

    text: str
    wall: str
    vector: bytes


class Candidate(NamedTuple):
    """The nearest stored question that passed the guards, its answer, and the decision whether that is served."""

    entry: StoredQuestion
    similarity: float
    stored: Stored
    pair: Pair
    decision: Decision


class SemanticCache:
    """The link. `knowledge`: the stored questions and the decision; `verifier` compares answers afterwards."""

    def __init__(
        self,
        tiers: Tiers,
        catalog: Catalog,
        embedding: Embedding,
        knowledge: Knowledge,
        verifier: Verifier,
        settings: Cache,
    ) -> None:
        self._tiers, self._catalog, self._embedding = tiers, catalog, embedding
        self.knowledge, self.verifier, self._settings = knowledge, verifier, settings
        self._told = False

    def __call__(self, next_: Stage) -> Stage:
        """Raises CacheMiss for `--cache-only`, ModelUnavailable for `--semantic` without a usable embedding model."""

        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            question, found = None, None
            if self._catalog.is_guide(call.entry):
                call.explain(NAME, "not searched: the built-in guide answers faster than a question is compared")
            elif call.keep and similar_will_do(call.request, self._settings):
                async with aclosing(self._ask(call)) as heard:
                    async for told in heard:
                        if isinstance(told, QuestionVector):
                            question = told
                        else:
                            yield told
            if question is not None and call.request.cache != "refresh" and call.origin.wants_text:
                found = await self._unless_it_fails(call, self._look(call, question))
                if found is not None and found.decision.serve:
                    for event in await self._serve(call, question, found):
                        yield event
                    return
            if call.request.cache == "only":
                raise CacheMiss(f"no stored answer of {call.entry.name} for this request, nor for a similar one")
            async with aclosing(next_(call)) as events:
                async for event in events:
                    yield event
                    if question is not None and isinstance(event, Answer):
                        await self._unless_it_fails(call, self._keep(call, question, found, event))

        return stage

    async def audit(self) -> CacheAudit:
        """Raises Storage."""
        judge, questions = await self.verifier.judge.state()
        return CacheAudit(semantic=await self.knowledge.audit(judge, questions))

    async def _unless_it_fails(self, call: Call, work: Coroutine[Any, Any, T]) -> T | None:
        """The result of `work`; None if the disk or a file fails, since no request may lose its answer by that."""
        try:
            done = await work
        except (LlmctlError, OSError, ValueError) as error:
            self.knowledge.fails(error)
            call.explain(NAME, f"failed: {error}")
            log.warning("stored questions cannot be used", error=f"{type(error).__name__}: {error}")
            return None
        self.knowledge.works()
        return done

    # ---- the question -----------------------------------------------------------------------------------------------

    async def _ask(self, call: Call) -> AsyncGenerator[Notice | QuestionVector, None]:
        """Notices, then the question as a vector, if it has one."""
        text = call.messages[-1].content if call.messages and call.messages[-1].role == "user" else ""
        text = call.typed or text
        if not text or len(text.encode()) > QUESTION_BYTES:
            call.explain(NAME, f"not searched: the question is empty or has more than {QUESTION_BYTES} bytes")
            return
        embeddings: Embeddings | None = None
        try:
            request = Embed(texts=[text], model=self._settings.semantic.model, user=call.request.user)
            async with aclosing(self._embedding(request)) as heard:
                async for event in heard:
                    if isinstance(event, Notice):
                        yield event
                    else:
                        embeddings = event
        except LlmctlError as error:
            model = self._settings.semantic.model
            message = error.message if model is None else f"{error.message} (cache.semantic.model is {model!r})"
            if isinstance(error, ModelUnavailable) and call.request.semantic:
                raise ModelUnavailable(message, error.hint) from error
            call.explain(NAME, f"not searched: {message}")
            log.warning("a question could not be embedded", error=message)
            if not self._told:
                self._told = True
                yield Notice(text=f"the semantic cache is not used: {message}")
            return
        assert embeddings is not None
        if embeddings.flaws:
            call.explain(NAME, f"not searched: {embeddings.flaws[0].message}")
            return
        await self._unless_it_fails(call, self.knowledge.open(embeddings.model, embeddings.dimension))
        if not self.knowledge.is_open:
            yield Notice(text="the semantic cache is not used: the stored questions cannot be opened")
            return
        for news in self._tiers.news():
            yield Notice(text=news)
        yield QuestionVector(text, wall_of(call, self._catalog, self._settings.scope), embeddings.vectors)

    # ---- the look-up ------------------------------------------------------------------------------------------------

    async def _look(self, call: Call, question: QuestionVector) -> Candidate | None:
        from llmctld.semantic.guards.refusal import (
            refusal,  # imported late: it reads the word tables, which would slow the start of the hub
        )

        start = time.perf_counter()
        entries, settings = self.knowledge.entries, self._settings.semantic
        near = await entries.near(question.wall, question.vector, settings.neighbours)
        passed: list[tuple[StoredQuestion, float, Stored]] = []
        for entry, similarity in near:
            guard = refusal(question.text, entry.text)
            if guard is None and settings.min_similarity is not None and similarity < settings.min_similarity:
                guard = "min_similarity"
            stored = await self._stored(call, entry) if guard is None else None
            if guard is None and stored is None:
                guard = "age"
            call.explain(NAME, repr(entry.text[:200]), round(similarity, 4), guard)
            if stored is not None:
                passed.append((entry, similarity, stored))
        survivors = [
            Neighbour(cosine, entry.answer, entry.text, entry.same, entry.different) for entry, cosine, _ in passed
        ]
        pair = describe(question.text, survivors, entries.count_behind(question.wall))
        decision = self.knowledge.decide(pair)
        self.knowledge.looked(decision.serve, time.perf_counter() - start)
        if pair is None:
            call.explain(NAME, f"no candidate among {counted(len(near), 'stored question')}")
            return None
        call.explain(NAME, _words(decision, self._settings.semantic.max_error))
        entry, similarity, stored = passed[0]
        return Candidate(entry, similarity, stored, pair, decision)

    async def _stored(self, call: Call, entry: StoredQuestion) -> Stored | None:
        """The answer of a stored question, if young enough. If it is gone, the question is removed too."""
        stored = await self._tiers.peek(entry.key)
        if stored is None:
            await self.knowledge.entries.remove([entry.key])
            return None
        oldest = call.request.max_age
        return stored if oldest is None or time.time() - stored.created <= oldest else None

    async def _serve(self, call: Call, question: QuestionVector, found: Candidate) -> list[Event]:
        entry, stored = found.entry, found.stored
        call.hit, call.saved_ms = NAME, stored.seconds * 1e3
        noted = self.knowledge.entries.serve(call.id, entry, found.similarity, packed((found.pair, found.decision)))
        await self._unless_it_fails(call, noted)
        self._tiers.saved(stored)
        if found.decision.verify:
            self.verifier.verify(call, found.entry, stored, found.pair, found.decision)
        age = round(max(0.0, time.time() - stored.created), 3)
        cache = CacheUse(hit=NAME, key=entry.key, similarity=round(found.similarity, 4), age_s=age)
        answer = served(stored.first, call, cache)
        return [Delta(text=answer.text, reasoning=answer.reasoning or ""), answer]

    # ---- what was computed ------------------------------------------------------------------------------------------

    async def _keep(self, call: Call, question: QuestionVector, found: Candidate | None, answer: Answer) -> None:
        """Stores the question for its answer, and compares the answer with that of the nearest question."""
        if call.key is None or await self._tiers.peek(call.key) is None:
            return  # the answer was not stored
        own = digest(answer.text)
        await self.knowledge.entries.add(call.key, question.wall, question.text, own, question.vector)
        if found is not None:
            self.verifier.compare(call, found.entry, found.stored, found.pair, found.decision, answer)


def _words(decision: Decision, max_error: float) -> str:
    what = "served" if decision.serve else "computed in order to learn" if decision.explore else "not served"
    verified = ", and verified afterwards" if decision.serve and decision.verify else ""
    bound = f"limit {max_error:g} of all requests (max_error)"
    return f"{what}{verified}: probability of a wrong answer {decision.error:.4f}, {bound}"
