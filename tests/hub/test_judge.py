"""The judge: examined once, trusted only after passing, and which replies count as no verdict."""

from pathlib import Path

import pytest
from llmctld.call.call import GaveWay
from llmctld.semantic.judge import ANSWER_LENGTH, MOST_WRONG, exams

from llmctl.config import NO_JUDGE, Semantic
from llmctl.errors import Busy, ContextOverflow, EngineFailed, Incomplete, InvalidRequest, ModelUnavailable
from tests.hub.learning import Learning, Model, failing, learning, truthful
from tests.hub.scene import in_loop

YES = {"serves": True}


def wrong(count: int) -> Model:
    """Answers the first `count` pairs of the examination wrongly."""
    chosen = exams()[:count]
    return Model(lambda exam: failing(exam) if exam in chosen else truthful(exam), usual=YES)


async def verdict(made: Learning) -> bool | None:
    return await made.judge.verdict(made.writer, "why?", "because", "since")


@in_loop
async def test_passing_judge_is_used_and_examined_only_once_across_restarts(tmp_path: Path) -> None:
    async with learning(tmp_path, wrong(MOST_WRONG)) as made:
        assert made.judge.usable(made.writer), "usable until the examination shows otherwise"
        assert await verdict(made) is True
        assert len(made.model.asked) == len(exams()) + 1
        assert await verdict(made) is True
        assert len(made.model.asked) == len(exams()) + 2
        assert await made.judge.state() == ("the model that wrote the answer", len(exams()) + 2)
    async with learning(tmp_path, Model(failing, usual={"serves": False})) as made:
        assert await verdict(made) is False
        assert len(made.model.asked) == 1
        assert await made.judge.state() == ("the model that wrote the answer", len(exams()) + 3)


@in_loop
async def test_failing_judge_is_never_asked_again_across_restarts(tmp_path: Path) -> None:
    async with learning(tmp_path, wrong(MOST_WRONG + 1)) as made:
        assert await verdict(made) is None
        assert len(made.model.asked) == MOST_WRONG + 1, "the examination stops once it is failed"
        assert not made.judge.usable(made.writer)
        assert await verdict(made) is None
        assert await made.judge.state() == ("not used", MOST_WRONG + 1)
    async with learning(tmp_path, Model(usual=YES)) as made:
        assert await verdict(made) is None
        assert made.model.asked == []
        assert not made.judge.usable(made.writer)


@pytest.mark.parametrize("said", [None, {}, {"serves": "yes"}, {"serves": 1}, [True], "true", Incomplete("cut short")])
@in_loop
async def test_judge_with_unreadable_replies_fails(tmp_path: Path, said: object) -> None:
    async with learning(tmp_path, Model(lambda exam: said, usual=YES)) as made:
        assert await verdict(made) is None
        assert not made.judge.usable(made.writer)


@pytest.mark.parametrize(
    "error", [Busy("full"), ModelUnavailable("not loaded"), EngineFailed("gone"), GaveWay("a user came first")]
)
@in_loop
async def test_failed_request_does_not_count_against_the_judge(tmp_path: Path, error: Exception) -> None:
    model = Model(lambda exam: error if exam == exams()[10] else truthful(exam), usual=YES)
    async with learning(tmp_path, model) as made:
        assert await verdict(made) is None
        assert made.judge.usable(made.writer)
        assert (await made.judge.state())[0] == "the model that wrote the answer"
        model.replies = truthful
        assert await verdict(made) is True
        model.usual = error
        assert await verdict(made) is None
        assert made.judge.usable(made.writer), "still usable later"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"serves": True}, True),
        ({"serves": False}, False),
        ({"serves": None}, None),
        ({"serves": "yes"}, None),
        ({"serves": 1}, None),
        ({"serve": True}, None),
        ("true", None),
        (Incomplete("cut short"), None),
        (InvalidRequest("no schemas here"), None),
        (ContextOverflow("too long"), None),
    ],
)
@in_loop
async def test_which_replies_count_as_a_verdict(tmp_path: Path, said: object, expected: bool | None) -> None:
    async with learning(tmp_path, Model(usual=said)) as made:
        assert await verdict(made) is expected
        assert made.judge.usable(made.writer)


@in_loop
async def test_judge_prompt_has_all_three_texts_and_is_charged_to_the_hub(tmp_path: Path) -> None:
    async with learning(tmp_path, Model(usual=YES)) as made:
        await made.judge.verdict(made.writer, "why {not}?", "be{cause", "since")
        call = made.model.asked[-1]
        text = call.messages[-1].content
        for part in ("<request>\nwhy {not}?\n</request>", "<answer>\nbe{cause\n", "<other>\nsince\n"):
            assert part in text
        assert (call.origin.payer, call.request.cache, call.request.semantic, call.request.temperature) == (
            "_llmctl",
            "skip",
            False,
            0,
        )
        assert (call.request.model, call.origin.priority) == ("e", "batch")


@pytest.mark.parametrize("place", [0, 1, 2])
@in_loop
async def test_judge_is_not_asked_about_too_long_texts(tmp_path: Path, place: int) -> None:
    parts = ["a", "b", "c"]
    parts[place] = "x" * (ANSWER_LENGTH + 1)
    async with learning(tmp_path, Model(usual=YES)) as made:
        assert await made.judge.verdict(made.writer, *parts) is None
        assert made.model.asked == []


@in_loop
async def test_judge_is_chosen_by_the_settings(tmp_path: Path) -> None:
    async with learning(tmp_path / "none", Model(usual=YES), Semantic(judge=NO_JUDGE)) as made:
        assert not made.judge.usable(made.writer)
        assert await verdict(made) is None
        assert made.model.asked == []
        assert await made.judge.state() == (NO_JUDGE, 0)
    async with learning(tmp_path / "f", Model(usual=YES), Semantic(judge="f")) as made:
        assert await verdict(made) is True
        assert {call.request.model for call in made.model.asked} == {"f"}
        assert (await made.judge.state())[0] == "f"
    async with learning(tmp_path / "gone", Model(usual=YES), Semantic(judge="gone")) as made:
        assert not made.judge.usable(made.writer), "no such model"
        assert await verdict(made) is None


@in_loop
async def test_judge_state_before_any_question(tmp_path: Path) -> None:
    async with learning(tmp_path, opens=None) as made:
        assert await made.judge.state() == ("the model that wrote the answer", 0)


def test_constant_verdicts_fail_the_examination() -> None:
    """A judge that always gives the same verdict fails."""
    assert len(exams()) == 20
    for constant in (True, False):
        assert sum(exam.serves is not constant for exam in exams()) > MOST_WRONG
