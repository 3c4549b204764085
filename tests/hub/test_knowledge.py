"""What the semantic cache has learned: kept across restarts, undone, counted, and reset when damaged."""

from pathlib import Path

from llmctld.semantic.decision.bound import Bound
from llmctld.semantic.knowledge import BOUND, CURRENT, UNDONE

from llmctl.config import Semantic
from tests.hub.learning import CLOSE, DIMENSION, SERVED, WALL, Learning, learning, stored, vector
from tests.hub.scene import in_loop, until

ASKED = 40


def learn(made: Learning, wrong: int = 0) -> None:
    """Learns from requests, each with a pair whose outcome is known."""
    for number in range(ASKED):
        made.knowledge.learn(CLOSE, made.knowledge.decide(CLOSE), number >= wrong)


@in_loop
async def test_learned_state_survives_a_restart(tmp_path: Path) -> None:
    async with learning(tmp_path) as made:
        learn(made, wrong=3)
        before = made.knowledge.bound.state()
        audit = await made.knowledge.audit("a judge", 7)
        await made.entry("a")
    async with learning(tmp_path, opens=None) as made:
        assert not made.knowledge.is_open
        assert await made.knowledge.reopen()
        assert made.knowledge.bound.restored
        assert made.knowledge.bound.state() == before
        assert await made.knowledge.audit("a judge", 7) == audit
        assert (audit.requests, audit.pairs) == (ASKED, ASKED)
        assert [entry.key for entry, _ in await made.knowledge.entries.near(WALL, vector(0.0), 5)] == ["a"]


@in_loop
async def test_learned_state_is_saved_while_the_hub_runs(tmp_path: Path) -> None:
    """Soon, and not only at shutdown, since the hub may be killed."""
    async with learning(tmp_path) as made:
        learn(made)
        assert await made.knowledge.entries.kept(BOUND) is None
        saving = made.knowledge._saving
        assert saving is not None
        await saving
        kept = await made.knowledge.entries.kept(BOUND)
        assert Bound(0.005, state=kept).audit().pairs == ASKED
        learn(made)
        assert made.knowledge._saving is not saving, "later changes are saved too"


@in_loop
async def test_each_embedding_model_has_its_own_learned_state(tmp_path: Path) -> None:
    async with learning(tmp_path) as made:
        learn(made)
        await made.entry("a")
        await made.knowledge.open("f", DIMENSION)
        assert await made.knowledge.entries.size() == (0, 0)
        assert (await made.knowledge.audit("", 0)).requests == 0
        await made.knowledge.open("e", DIMENSION)
        assert (await made.knowledge.entries.size())[0] == 1
        assert (await made.knowledge.audit("", 0)).requests == ASKED


@in_loop
async def test_nothing_to_reopen_before_anything_was_learned(tmp_path: Path) -> None:
    async with learning(tmp_path, opens=None) as made:
        assert not await made.knowledge.reopen()
        assert (await made.knowledge.undone(), await made.knowledge.show("a")) == (set(), {})
        assert await made.knowledge.take_back("request", "a") is None
        audit = await made.knowledge.audit("none", 0)
        assert (audit.requests, audit.wrong_rate, audit.wrong_rate_upper) == (0, None, None)
        assert await made.knowledge.stats() is None


@in_loop
async def test_damaged_bound_state_starts_anew_and_keeps_the_questions(tmp_path: Path) -> None:
    for damaged in (b"", b"{", b"[]", b'{"features": []}', b"\xff\xfe"):
        async with learning(tmp_path) as made:
            learn(made)
            await made.entry("a")
        async with learning(tmp_path) as made:
            made.knowledge._save = nothing  # type: ignore[method-assign]  # as if it had been killed
            await made.knowledge.entries.keep(BOUND, damaged)
        async with learning(tmp_path) as made:
            assert not made.knowledge.bound.restored, damaged
            assert (await made.knowledge.audit("", 0)).requests == 0
            assert await made.knowledge.entries.of("a") is not None
            learn(made)
            assert (await made.knowledge.audit("", 0)).pairs == ASKED


async def nothing() -> None:
    pass


@in_loop
async def test_damaged_note_of_the_last_model_is_ignored(tmp_path: Path) -> None:
    async with learning(tmp_path) as made:
        await made.entry("a")
    (tmp_path / "semantic" / CURRENT).write_bytes(b'{"name": 3')
    async with learning(tmp_path, opens=None) as made:
        assert not await made.knowledge.reopen()
        await made.knowledge.open("e", DIMENSION)
        assert await made.knowledge.entries.of("a") is not None
    async with learning(tmp_path, opens=None) as made:
        assert await made.knowledge.reopen(), "the note is written again"


@in_loop
async def test_note_of_the_last_model_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """A reader, or a hub that is killed, finds the old note or the new one."""
    async with learning(tmp_path) as made:
        note = tmp_path / "semantic" / CURRENT
        with note.open("rb") as old:
            before = note.read_bytes()
            await made.knowledge.open("f", DIMENSION)
            assert note.read_bytes() != before
            assert old.read() == before
        assert [file.name for file in note.parent.iterdir() if file.name.startswith(CURRENT)] == [CURRENT]


# ---- undoing --------------------------------------------------------------------------------------------------------


@in_loop
async def test_undone_hit_removes_its_question_and_is_learned_once(tmp_path: Path) -> None:
    async with learning(tmp_path) as made:
        learn(made)
        entry = await made.entry("a")
        await made.served("first", entry)
        await made.served("second", entry)
        before = (await made.knowledge.audit("", 0)).wrong_rate_upper
        assert await made.knowledge.take_back("first", "a") == "question a"
        state = made.knowledge.bound.state()
        assert await made.verdicts("a") == [None, UNDONE]
        audit = await made.knowledge.audit("", 0)
        assert audit.undone == 1
        assert audit.wrong_rate_upper is not None
        assert before is not None
        assert audit.wrong_rate_upper > before, "a user's undo counts as a wrong hit"
        assert await made.knowledge.undone() == {"a"}
        assert await made.knowledge.entries.near(WALL, vector(0.0), 5) == []
        assert await made.knowledge.take_back("first", "a") is None, "the entry is already gone"
        assert made.knowledge.bound.state() == state, "the same undo is learned only once"
        await made.knowledge.entries.add("a", WALL, "question a", "", vector(0.0))
        assert await made.knowledge.entries.of("a") is None, "it is not added again"
    async with learning(tmp_path, opens=None) as made:
        assert await made.knowledge.undone() == {"a"}
        assert (await made.knowledge.audit("", 0)).undone == 1


@in_loop
async def test_undoing_a_hit_already_judged_wrong_is_not_learned_twice(tmp_path: Path) -> None:
    for verdict, learned in (("different", False), ("same", True)):
        async with learning(tmp_path / verdict) as made:
            await made.served("r", await made.entry("a"))
            await made.knowledge.entries.verdict("r", verdict)
            before = made.knowledge.bound.state()
            await made.knowledge.take_back("r", "a")
            assert (made.knowledge.bound.state() != before) == learned
            assert await made.verdicts("a") == [UNDONE]


# ---- counting-------------------------------------------------------------------------------------------------------


@in_loop
async def test_audit_counts_the_decisions(tmp_path: Path) -> None:
    async with learning(tmp_path, settings=Semantic(max_error=0.02)) as made:
        decisions = [made.knowledge.decide(CLOSE) for _ in range(ASKED)]
        audit = await made.knowledge.audit("the judge", 5)
        assert (audit.judge, audit.judged, audit.max_error) == ("the judge", 5, 0.02)
        assert (audit.pairs, audit.wrong_rate, audit.wrong_rate_upper) == (0, None, None), "no rate without outcomes"
        made.knowledge.learn(CLOSE, SERVED, True)
        made.knowledge.learn(CLOSE, SERVED, False)
        audit = await made.knowledge.audit("the judge", 5)
        hits = sum(decision.serve for decision in decisions)
        assert (audit.requests, audit.hits, audit.hit_rate) == (ASKED, hits, round(hits / ASKED, 4))
        assert (audit.pairs, audit.verified) == (2, 2)
        assert audit.explored == sum(decision.explore for decision in decisions)
        assert audit.wrong_rate is not None
        assert audit.wrong_rate_upper is not None
        assert audit.wrong_rate <= audit.wrong_rate_upper <= 1


@in_loop
async def test_stats_and_show_report_the_stored_state(tmp_path: Path) -> None:
    async with learning(tmp_path) as made:
        made.knowledge.looked(True, 0.002)
        made.knowledge.looked(False, 0.004)
        made.knowledge.looked(False, 0.006)
        entry = await made.entry("a")
        await made.served("r", entry)
        await made.knowledge.entries.count_comparison(entry.number, True)
        stats = await made.knowledge.stats()
        assert stats is not None
        assert (stats.level, stats.hits, stats.misses, stats.entries, stats.p50_ms) == ("semantic", 1, 2, 1, 4.0)
        assert await made.knowledge.show("a") == {"question": "question a", "served": 1, "same": 1, "different": 0}
        assert await made.knowledge.show("b") == {}


@in_loop
async def test_question_is_removed_with_its_answer(tmp_path: Path) -> None:
    async with learning(tmp_path) as made:
        await made.tiers.put("a", stored("an answer"))
        await made.entry("a")
        await made.entry("b", 0.5)
        await made.tiers.delete(["a"])
        await until(lambda: made.knowledge.entries.count_behind(WALL) == 1)
        assert [entry.key for entry, _ in await made.knowledge.entries.near(WALL, vector(0.0), 5)] == ["b"]
