"""Verification of semantic hits: what is counted, when a judge is asked, and what is skipped."""

import asyncio
from pathlib import Path

import pytest
from llmctld.call.origin import OWN
from llmctld.semantic import verify
from llmctld.semantic.decision.bound import Decision
from llmctld.semantic.entries import StoredQuestion
from llmctld.semantic.judge import exams

from llmctl.config import Semantic
from llmctl.errors import EngineFailed
from llmctl.wire import Timings, TokenUsage
from tests.hub.learning import CLOSE, COMPUTED, SERVED, Learning, Model, learning, stored
from tests.hub.scene import in_loop, until

OLD, SAME, OTHER, NUMBER = "Press the red button.", "press the red button", "Push that knob.", "Press button 5."
YES, NO = {"serves": True}, {"serves": False}


async def compared(made: Learning, computed: str, decision: Decision = COMPUTED) -> StoredQuestion:
    """Compares `computed` with OLD; the entry of OLD as it was before."""
    entry = await made.entry("a")
    call = made.call()
    answer = call.answer(computed, None, "stop", TokenUsage(), Timings())
    made.verifier.compare(call, entry, stored(OLD), CLOSE, decision, answer)
    await quiet(made)
    return entry


async def quiet(made: Learning) -> None:
    await until(lambda: not made.verifier._tasks)


async def counts(made: Learning) -> tuple[int, int]:
    entry = await made.knowledge.entries.of("a")
    assert entry is not None
    return entry.same, entry.different


async def pairs(made: Learning) -> int:
    return (await made.knowledge.audit("", 0)).pairs


@pytest.mark.parametrize(("computed", "known"), [(SAME, (1, 0)), (NUMBER, (0, 1))])
@in_loop
async def test_pairs_that_the_answers_decide_are_not_sent_to_the_judge(
    tmp_path: Path, computed: str, known: tuple[int, int]
) -> None:
    async with learning(tmp_path, Model(usual=YES)) as made:
        await compared(made, computed)
        assert await counts(made) == known
        assert await pairs(made) == 1
        assert made.model.asked == []


@pytest.mark.parametrize(("verdict", "known"), [(YES, (1, 0)), (NO, (0, 1)), (None, (0, 1))])
@in_loop
async def test_pairs_that_the_answers_leave_open_are_sent_to_the_judge(
    tmp_path: Path, verdict: object, known: tuple[int, int]
) -> None:
    """No verdict of the judge does not count as the same."""
    async with learning(tmp_path, Model(usual=verdict)) as made:
        await compared(made, OTHER)
        assert await counts(made) == known
        assert len(made.model.asked) == len(exams()) + 1


@pytest.mark.parametrize("computed", [SAME, NUMBER, OTHER])
@in_loop
async def test_a_pair_that_may_not_be_judged_is_not_counted(tmp_path: Path, computed: str) -> None:
    """Whatever the result: counting only equal answers would make the cache overestimate itself."""
    async with learning(tmp_path, Model(usual=YES)) as made:
        await compared(made, computed, COMPUTED._replace(judge=False))
        assert (await counts(made), await pairs(made), made.model.asked) == ((0, 0), 0, [])


@in_loop
async def test_without_a_judge_only_equal_answers_count_as_the_same(tmp_path: Path) -> None:
    async with learning(tmp_path, settings=Semantic(judge="none")) as made:
        await compared(made, OTHER)
        assert await counts(made) == (0, 1)


@in_loop
async def test_a_dissimilar_pair_does_not_count_for_the_entry(tmp_path: Path) -> None:
    async with learning(tmp_path) as made:
        await compared(made, NUMBER, COMPUTED._replace(error=0.9))
        assert (await counts(made), await pairs(made)) == ((0, 0), 1)


@pytest.mark.parametrize(("computed", "equal"), [(SAME, True), (NUMBER, False)])
@in_loop
async def test_answers_judged_the_same_are_linked(tmp_path: Path, computed: str, equal: bool) -> None:
    async with learning(tmp_path) as made:
        await made.entry("new", 0.1)  # under the key of the request
        entry = await compared(made, computed)
        new = await made.knowledge.entries.of("new")
        assert new is not None
        assert (new.answer == entry.answer) is equal


@in_loop
async def test_long_answers_are_compared_too(tmp_path: Path) -> None:
    async with learning(tmp_path) as made:
        entry, call = await made.entry("a"), made.call()
        answer = call.answer("x" * verify.LONG, None, "stop", TokenUsage(), Timings())
        made.verifier.compare(call, entry, stored("X" * verify.LONG), CLOSE, COMPUTED, answer)
        await quiet(made)
        assert await counts(made) == (1, 0)


# ---- hits that are computed once more -------------------------------------------------------------------------------


@pytest.mark.parametrize(("computed", "verdict"), [(SAME, "same"), (NUMBER, "different")])
@in_loop
async def test_a_verified_hit_is_computed_for_its_own_question_and_recorded(
    tmp_path: Path, computed: str, verdict: str
) -> None:
    async with learning(tmp_path, Model(text=computed)) as made:
        entry, call = await made.entry("a"), made.call("what now?")
        await made.served(call.id, entry)
        made.verifier.verify(call, entry, stored(OLD), CLOSE, SERVED)
        await quiet(made)
        (asked,) = made.model.asked
        assert (asked.origin.payer, asked.request.cache, asked.request.semantic) == (OWN, "refresh", True)
        assert (asked.request.prompt, asked.origin.priority, asked.may_load) == ("what now?", "batch", True)
        assert await made.verdicts("a") == [verdict]
        audit = await made.knowledge.audit("", 0)
        assert (audit.pairs, audit.verified) == (1, 1)


@in_loop
async def test_a_hit_that_cannot_be_recomputed_is_not_counted(tmp_path: Path) -> None:
    class Broken(Model):
        async def __call__(self, call):  # type: ignore[no-untyped-def]
            raise EngineFailed("gone")
            yield  # a generator

    async with learning(tmp_path, Broken()) as made:
        entry, call = await made.entry("a"), made.call()
        await made.served(call.id, entry)
        made.verifier.verify(call, entry, stored(OLD), CLOSE, SERVED)
        await quiet(made)
        assert (await made.verdicts("a"), await pairs(made)) == ([None], 0)


@in_loop
async def test_verifications_beyond_the_queue_limit_are_dropped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "WAITING", 5)
    go, running, most = asyncio.Event(), 0, 0

    class Held(Model):
        async def __call__(self, call):  # type: ignore[no-untyped-def]
            nonlocal running, most
            running += 1
            most = max(most, running)
            await go.wait()
            running -= 1
            async for event in super().__call__(call):
                yield event

    async with learning(tmp_path, Held(text=SAME)) as made:
        entry = await made.entry("a")
        for _ in range(8):
            made.verifier.verify(made.call(), entry, stored(OLD), CLOSE, SERVED)
        assert made.verifier.dropped == 3
        await until(lambda: running == verify.TOGETHER)
        go.set()
        await quiet(made)
        assert (most, await counts(made)) == (verify.TOGETHER, (5, 0))
        made.verifier.verify(made.call(), entry, stored(OLD), CLOSE, SERVED)
        await quiet(made)
        assert (made.verifier.dropped, await counts(made)) == (3, (6, 0)), "there is room again"


@in_loop
async def test_a_failing_verification_affects_no_other(tmp_path: Path) -> None:
    class Once(Model):
        async def __call__(self, call):  # type: ignore[no-untyped-def]
            if not self.asked:
                self.asked.append(call)
                raise ValueError("a bug")
            async for event in super().__call__(call):
                yield event

    async with learning(tmp_path, Once(text=SAME)) as made:
        entry = await made.entry("a")
        for _ in range(3):
            made.verifier.verify(made.call(), entry, stored(OLD), CLOSE, SERVED)
        await quiet(made)
        assert await counts(made) == (2, 0)


@in_loop
async def test_stopping_the_hub_does_not_wait_for_verifications(tmp_path: Path) -> None:
    async with learning(tmp_path, Model(text=SAME)) as made:
        entry = await made.entry("a")
        for _ in range(4):
            made.verifier.verify(made.call(), entry, stored(OLD), CLOSE, SERVED)
        await asyncio.sleep(0)
        await made.verifier.close()
        assert (await counts(made), made.verifier._tasks) == ((0, 0), set())
