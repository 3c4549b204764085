"""The built-in guide as a newcomer meets it: a question before any model was added."""

from tests.e2e.house import House


def test_a_newcomers_question_is_answered_without_a_model(house: House) -> None:
    outcome = house.run("ask", "how do i download a model?")
    assert outcome.status == 0, outcome
    assert outcome.out.startswith("llmctl pull ")
    assert "guide" in outcome.err


def test_an_answer_is_the_same_in_any_letters_and_in_json(house: House) -> None:
    plain = house.ok("ask", "which models are there?", "-m", "guide", "--no-cache").out
    loud = house.ok("ask", "  WHICH MODELS ARE THERE?", "-m", "guide", "--no-cache").out
    assert plain == loud
    assert plain.splitlines()[0] == "llmctl models ls"
    assert "<|" not in house.ok("ask", "which models are there?", "-m", "guide", "--no-cache", "--json").out


def test_what_is_not_about_llmctl_is_status_4_and_nothing_on_stdout(house: House) -> None:
    for question in ("how do i clear the cache in chrome?", "what is the capital of france?"):
        outcome = house.run("ask", question)
        assert (outcome.status, outcome.out) == (4, ""), outcome
        assert "llmctl pull" in outcome.err
