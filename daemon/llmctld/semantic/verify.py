"""Verification: a stored answer is compared with a computed one, and the decision learns from the outcome.

It compares the computed answer of a miss with the stored one of the nearest question, if there is one, and recomputes a sample of
hits in the background at priority `batch`. decision/bound.py decides what is served.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any

import msgspec

from llmctl.errors import LlmctlError
from llmctl.wire import Answer
from llmctld.cache.level import Stored
from llmctld.call.call import Call, GaveWay
from llmctld.call.origin import Purpose, origin_of
from llmctld.models.running.residency import Residency
from llmctld.runtime.log import log
from llmctld.semantic.asker import Asker
from llmctld.semantic.decision.bound import Decision
from llmctld.semantic.decision.pair import Pair
from llmctld.semantic.entries import StoredQuestion
from llmctld.semantic.judge import Judge
from llmctld.semantic.knowledge import Knowledge

WAITING, TOGETHER = 256, 2
"""Comparisons that wait at most, and that run at the same time. More are dropped."""

LONG = 20_000
"""Characters of two answers from which on they are compared in a thread."""


class Verifier:
    """`judge` compares answers that folding cannot."""

    def __init__(self, asker: Asker, residency: Residency, knowledge: Knowledge, judge: Judge) -> None:
        self._asker, self._residency, self._knowledge, self.judge = asker, residency, knowledge, judge
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(TOGETHER)
        self.dropped = 0

    def compare(
        self, call: Call, entry: StoredQuestion, stored: Stored, pair: Pair, decision: Decision, answer: Answer
    ) -> None:
        """Compares a computed answer with the stored one: free evidence, unless a judge is asked."""
        self._later(self._weigh(call, entry, stored, pair, decision, answer.text))

    def verify(self, call: Call, entry: StoredQuestion, stored: Stored, pair: Pair, decision: Decision) -> None:
        """Computes the answer to a question that was served from the cache, stores it, and compares."""
        self._later(self._shadow(call, entry, stored, pair, decision))

    async def _shadow(self, call: Call, entry: StoredQuestion, stored: Stored, pair: Pair, decision: Decision) -> None:
        loaded = self._residency.is_loaded(call.entry)
        if not loaded:
            await self._asker.quiet()
        request = msgspec.structs.replace(call.request, cache="refresh", semantic=True, explain=False)
        try:
            answer = await self._asker.generate(
                request, origin_of(request, Purpose.SHADOW), messages=call.messages, load=not loaded, yields=not loaded
            )
        except (LlmctlError, GaveWay) as error:
            log.info("a semantic hit could not be verified", request=call.id, error=str(error))
            return
        assert isinstance(answer, Answer)
        await self._weigh(call, entry, stored, pair, decision, answer.text)

    async def _weigh(
        self, call: Call, entry: StoredQuestion, stored: Stored, pair: Pair, decision: Decision, computed: str
    ) -> None:
        """Answers count as different if they are not equal and there is no verdict. Whether a pair is learned must not depend
        on its outcome."""
        from llmctld.semantic.same import same_answer  # reads the word tables, which no start of the hub should

        judged = self.judge.usable(call.entry)
        if judged and not decision.judge:
            return
        if len(computed) + len(stored.first.text) > LONG:
            same = await asyncio.to_thread(same_answer, computed, stored.first.text)
        else:
            same = same_answer(computed, stored.first.text)
        if same is None and judged:
            self._knowledge.count_judge_question()
            same = await self.judge.verdict(call.entry, call.messages[-1].content, computed, stored.first.text)
        await self._teach(call, entry, pair, decision, bool(same))

    async def _teach(self, call: Call, entry: StoredQuestion, pair: Pair, decision: Decision, same: bool) -> None:
        self._knowledge.learn(pair, decision, same)
        entries = self._knowledge.entries
        if decision.close:
            await entries.count_comparison(entry.number, same)
        if decision.serve:
            await entries.verdict(call.id, "same" if same else "different")
        if same and call.key is not None:
            await entries.add_same_answer(call.key, entry.answer)
        if decision.serve and not same:
            log.info("a semantic hit was found to be wrong", request=call.id, key=entry.key)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        if len(self._tasks) >= WAITING:
            self.dropped += 1
            work.close()
            return
        task = asyncio.create_task(self._in_turn(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _in_turn(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            async with self._places:
                await work
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - nobody waits for it, and the next one may succeed
            log.warning("a pair could not be verified", error=f"{type(error).__name__}: {error}")
        finally:
            work.close()

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)
