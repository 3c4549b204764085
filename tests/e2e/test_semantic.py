"""Semantic hits: which are served, which never, and how they are reported, judged and undone.

The embedding model is the real one, the answers come from an endpoint that counts what it is asked (tests/faulty_server.py).
"""

import itertools
import json
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.house import House, Outcome, until
from tests.e2e.house import house as a_house
from tests.e2e.test_bad_input import refused
from tests.faulty_server import Exchange, Server, answer, server

NAMES = itertools.count(1)
QUESTION = "What is the capital of France?"
JUDGED = re.compile(r"<request>\n(.*)\n</request>\n<answer>\n(.*)\n</answer>\n<other>\n(.*)\n</other>", re.DOTALL)
"""Request, answer and other answer of a question to a judge."""


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    """A house with the embedding model loaded; each test has an endpoint, and a model, of its own."""
    with a_house() as made:
        made.ok("embed", "warm up")
        yield made


@pytest.fixture
def own() -> Iterator[House]:
    """A house for a test that teaches what others should not find."""
    with a_house() as made:
        yield made


@pytest.fixture
def endpoint() -> Iterator[Server]:
    with server() as made:
        made.usual = talker(lambda question: "Paris, of course.")  # what a hub has learned is found by the next test
        yield made


def talker(words: Callable[[str], str], judge: Callable[[str, str, str], str] | None = None) -> Any:
    """An endpoint that answers each question with `words` of it, and questions to the judge with `judge` of its three parts."""

    async def behave(exchange: Exchange) -> None:
        question = exchange.asked.body["messages"][-1]["content"]
        parts = JUDGED.search(question)
        text = words(question) if parts is None else judge(*parts.groups()) if judge else "no idea"
        await answer(text)(exchange)

    return behave


def added(home: House, endpoint: Server) -> str:
    name = f"model{next(NAMES)}"
    home.ok(
        "models", "add", name, endpoint.url, "--remote-model", name
    )  # a port may be used again, and its answers found
    return name


def ask(home: House, model: str, *question: str) -> Outcome:
    return home.ok("ask", *question, "-m", model, "--semantic", "--json", "--no-stdin")


def hit(outcome: Outcome) -> str | None:
    found: str | None = outcome.last["cache"]["hit"]
    return found


# ---- semantic hits --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "restated",
    ["what is the capital of france", "What's the capital of France?", "Please tell me: what is the capital of France?",
     "WHAT IS THE CAPITAL OF FRANCE?!", "Could you tell me what the capital of France is, please?"],
)  # fmt: skip
def test_a_restated_question_is_a_semantic_hit_on_a_fresh_install(home: House, endpoint: Server, restated: str) -> None:
    model = added(home, endpoint)
    first = ask(home, model, QUESTION)
    assert hit(first) is None
    outcome = ask(home, model, restated)
    cache = outcome.last["cache"]
    assert hit(outcome) == "semantic"
    assert 0.8 < cache["similarity"] <= 1
    assert cache["key"] == first.last["cache"]["key"]
    assert outcome.last["text"] == first.last["text"]
    assert "the answer to a similar question (similarity" in outcome.err
    assert "cache undo" in outcome.err


def test_without_semantic_no_similar_answer_is_looked_for(home: House, endpoint: Server) -> None:
    model = added(home, endpoint)
    for question in (QUESTION, "what is the capital of france"):
        assert hit(home.ok("ask", question, "-m", model, "--json")) is None
    assert len(endpoint.asked) == 2


def test_the_setting_enables_semantic_hits_and_no_semantic_disables_them(endpoint: Server) -> None:
    with a_house(LLMCTL_CACHE__SEMANTIC__ENABLED="true") as home:
        model = added(home, endpoint)
        home.ok("ask", QUESTION, "-m", model)
        assert hit(home.ok("ask", "what is the capital of france", "-m", model, "--json", "--no-semantic")) is None
        assert hit(home.ok("ask", "What's the capital of France?", "-m", model, "--json")) == "semantic"


@pytest.mark.parametrize("named", ["nobody", "text"])
def test_an_unusable_embedding_model_is_reported_with_its_setting(named: str) -> None:
    with a_house(LLMCTL_CACHE__SEMANTIC__MODEL=named) as home:
        home.echo("text")
        outcome = home.run("ask", QUESTION, "--semantic")
        assert (outcome.status, "cache.semantic.model" in outcome.err) == (4 if named == "nobody" else 0, True), outcome


def test_a_streamed_semantic_hit_is_complete_and_not_stored_under_the_new_question(
    home: House, endpoint: Server
) -> None:
    model = added(home, endpoint)
    text = home.ok("ask", QUESTION, "-m", model, "--semantic").out
    assert home.ok("ask", "what is the capital of france", "-m", model, "--semantic").out == text
    own = home.run("ask", "what is the capital of france", "-m", model, "--cache-only")
    assert own.status == 13 or len(endpoint.asked) == 2, (
        "but a verified one is, with the answer that was computed for it"
    )


def test_cache_only_with_semantic_serves_only_a_stored_similar_answer(home: House, endpoint: Server) -> None:
    model = added(home, endpoint)
    flags = ("-m", model, "--semantic", "--cache-only", "--json")
    refused(home.run("ask", QUESTION, *flags), 13, "nor for a similar one")
    ask(home, model, QUESTION)
    assert hit(home.ok("ask", "what is the capital of france", *flags)) == "semantic"
    assert len(endpoint.asked) <= 2


def test_refresh_and_max_age_prevent_a_semantic_hit(home: House, endpoint: Server) -> None:
    model = added(home, endpoint)
    ask(home, model, QUESTION)
    assert hit(ask(home, model, "what is the capital of france", "--refresh")) is None
    assert hit(ask(home, model, "What's the capital of france", "--max-age", "0s")) is None
    assert hit(ask(home, model, "what is the capital of france")) == "memory"


# ---- no semantic hits -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [("-s", "Answer in one word."), ("--schema", "name"), ("--temperature", "0", "--seed", "5"), ("--user", "somebody"),
     ("--max-tokens", "50"), ("--stop", "x"), ("-x",), ("--conversation", "another")],
)  # fmt: skip
def test_the_same_question_in_another_context_is_never_a_semantic_hit(
    home: House, endpoint: Server, other: tuple[str, ...]
) -> None:
    model = added(home, endpoint)
    endpoint.usual = talker(lambda question: '```\n{"name": "x"}\n```' if other == ("-x",) else '{"name": "x"}')
    if other[0] == "--conversation":
        home.ok("ask", "Let us speak of cheese.", "-m", model, *other)
    ask(home, model, QUESTION)
    calls = len(endpoint.asked)
    outcome = home.ok("ask", "what is the capital of france", "-m", model, "--semantic", "--json", *other)
    assert hit(outcome) is None
    assert len(endpoint.asked) == calls + 1


@pytest.mark.parametrize("given", ["stdin", "file"])
def test_a_question_about_a_document_is_compared_without_the_document(own: House, endpoint: Server, given: str) -> None:
    """A long document would make all questions about it similar, and two versions of it the same."""
    model = added(own, endpoint)
    text = "The board met on Monday. " * 30 + "The company reported a profit.\n"

    def about(question: str, document: str) -> Outcome:
        (own.home / "report.txt").write_text(document)
        source = {"stdin": document} if given == "stdin" else {}
        args = ["-f", own.home / "report.txt", "--no-stdin"] if given == "file" else []
        return own.ok("ask", question, *args, "-m", model, "--semantic", "--json", "--explain", **source)

    assert hit(about("Summarize this text", text)) is None
    assert hit(about("Please summarize this text.", text)) == "semantic"
    translated = about("Translate this text", text)
    assert hit(translated) is None
    assert {step["refused"] for step in translated.last["explain"] if step["similarity"]} == {"name"}
    assert hit(about("Please summarize this text.", text.replace("profit", "deficit"))) is None


def test_the_turns_before_the_question_of_a_chat_are_its_context(own: House, endpoint: Server) -> None:
    model, restated = added(own, endpoint), "what is the capital of france"
    script = f"""
from llmctl import Client
for before, question in (("Ana", {QUESTION!r}), ("Ana", {restated!r}), ("Bob", {restated!r})):
    chat = [
        {{"role": "user", "content": "I am " + before}}, {{"role": "assistant", "content": "Hello"}},
        {{"role": "user", "content": question}},
    ]
    print(Client(user="ana").ask(messages=chat, model={model!r}, semantic=True).cache.hit)
"""
    assert own.python(script).end().out.split() == ["None", "semantic", "None"]


def test_an_answer_of_another_model_is_never_a_semantic_hit(home: House, endpoint: Server) -> None:
    first = added(home, endpoint)
    ask(home, first, QUESTION)
    with server() as other:
        other.usual = endpoint.usual
        assert hit(ask(home, added(home, other), "what is the capital of france")) is None


@pytest.mark.parametrize(
    ("stored", "asked", "guard"),
    [("How do I enable the firewall?", "How do I disable the firewall?", "negation"),
     ("Convert 5 miles to km", "Convert 6 miles to km", "number"),
     ("Is Berlin larger than Paris?", "Is Paris larger than Berlin?", "order"),
     ("What happened in March 2019?", "What happened in May 2019?", "date"),
     ("Was ist die Hauptstadt von Frankreich?", "Was ist die Hauptstadt von Spanien?", "name"),
     ("Quelle est la capitale de la France ?", "Quelle est la capitale de l'Espagne ?", "name"),
     ("Wie weit sind zweitausenddreihundert Meter?", "Wie weit sind zweitausendvierhundert Meter?", "number"),
     ("Jaka jest stolica Francji?", "Jaka jest stolica Hiszpanii?", "language")],
)  # fmt: skip
def test_a_guard_refuses_a_similar_answer_and_explain_names_it(
    home: House, endpoint: Server, stored: str, asked: str, guard: str
) -> None:
    model = added(home, endpoint)
    ask(home, model, stored)
    outcome = ask(home, model, asked, "--explain")
    assert hit(outcome) is None
    (seen,) = [line for line in outcome.last["explain"] if line["similarity"] is not None]
    assert seen["stage"] == "semantic"
    assert seen["refused"] == guard
    assert stored in seen["text"]
    assert seen["similarity"] > 0.7


def test_a_language_without_word_tables_gets_hits_only_for_restatements(home: House, endpoint: Server) -> None:
    model = added(home, endpoint)
    ask(home, model, "Jaka jest stolica Francji?")
    assert hit(ask(home, model, "jaka jest stolica francji")) == "semantic"
    outcome = ask(home, model, "Jaka miejscowość jest stolicą Francji?", "--explain")
    assert hit(outcome) is None
    assert [line["refused"] for line in outcome.last["explain"] if line["similarity"] is not None][:1] == ["language"]


def test_explain_describes_the_way_of_a_request_in_words(home: House, endpoint: Server) -> None:
    model = added(home, endpoint)
    ask(home, model, QUESTION)
    outcome = home.ok("ask", "what is the capital of france", "-m", model, "--semantic", "--explain")
    told = [line for line in outcome.err.splitlines() if re.match(r"(preprocess|exact|semantic) ", line)]
    assert [line.split()[0] for line in told] == ["preprocess", "exact", "exact", "semantic", "semantic"]
    assert QUESTION in told[3]
    assert "limit 0.005 of all requests (max_error)" in told[4]
    assert home.ok("ask", QUESTION, "-m", model, "--json").last["explain"] is None


def test_the_log_contains_no_output_of_faiss(home: House, endpoint: Server) -> None:
    """On import faiss prints which of its builds it could not load, in lines that are not JSON."""
    ask(home, added(home, endpoint), QUESTION)
    lines = [json.loads(line) for line in home.log.read_text().splitlines()]
    assert any(line["event"] == "request" for line in lines)


def test_a_long_question_is_never_truncated(home: House, endpoint: Server) -> None:
    model = added(home, endpoint)
    text = "word " * 2000
    outcome = ask(home, model, text, "--explain")
    assert hit(outcome) is None
    (told,) = [line["text"] for line in outcome.last["explain"] if line["stage"] == "semantic"]
    assert "not searched" in told


# ---- audit and undo -------------------------------------------------------------------------------------------------


def test_cache_audit_reports_how_many_verified_hits_it_is_based_on(endpoint: Server) -> None:
    with a_house() as home:
        assert home.ok("cache", "audit", "--json").last["semantic"]["requests"] == 0
        assert not home.hub_runs(), "who only looks starts no hub"
        model = added(home, endpoint)
        ask(home, model, QUESTION)
        ask(home, model, "what is the capital of france")
        audit = until(lambda: [found for found in [judged(home)] if found["verified"]], what="the hit to be verified")[
            0
        ]
        assert (audit["requests"], audit["hits"], audit["hit_rate"]) == (2, 1, 0.5)
        assert audit["max_error"] == 0.005
        assert {"wrong_rate", "wrong_rate_upper", "pairs", "judge"} <= audit.keys()
        assert "the limit is 0.50%" in home.ok("cache", "audit").out
        home.ok("daemon", "restart")
        assert home.ok("cache", "audit", "--json").last["semantic"] == audit, "what was learned survives"
        home.ok("daemon", "stop")
        assert home.ok("cache", "audit", "--json").last["semantic"] == audit


def test_cache_undo_removes_a_semantic_hit_and_lists_who_received_it(own: House, endpoint: Server) -> None:
    model = added(own, endpoint)
    key = ask(own, model, QUESTION).last["cache"]["key"]
    restated = [
        "what is the capital of france",
        "What's the capital of France?",
        "what is the capital of France, please",
    ]
    answers = [ask(own, model, question).last for question in restated]
    had = [(found["id"], found["user"]) for found in answers if found["cache"]["key"] == key]
    assert had, "the others may have had an answer that was computed to verify one"
    lines = own.ok("cache", "undo", had[0][0], "--json").lines
    assert [(line["id"], line["user"]) for line in lines] == had[::-1]
    assert lines[-1]["prompt"] == restated[0]
    again = ask(own, model, "So what is the capital of France?")
    assert again.last["cache"]["key"] != key
    stored = own.ok("ask", QUESTION, "-m", model, "--json").last["cache"]
    assert (stored["hit"], stored["key"]) == ("memory", key), "it stays for its own question"
    own.ok("ask", QUESTION, "-m", model, "--semantic", "--refresh")
    assert ask(own, model, "Well, what is the capital of France?").last["cache"]["key"] != key, (
        "nor when it is computed anew"
    )
    assert judged(own)["undone"] >= 1
    table = own.ok("cache", "undo", had[0][0])
    assert f"the answer {key} is no longer served to other" in table.err
    assert restated[0] in table.out


def test_a_file_in_place_of_the_semantic_folder_fails_the_level_until_removed(own: House, endpoint: Server) -> None:
    def row() -> dict[str, Any]:
        return next(line for line in own.ok("cache", "stats", "--json").lines if line["level"] == "semantic")

    model = added(own, endpoint)
    ask(own, model, QUESTION)
    assert (row()["state"], row()["entries"]) == ("ok", 1)
    place = own.place / "cache" / "semantic"
    with own.still():
        shutil.rmtree(place)
        place.write_text("somebody put a file here")
    assert row()["state"] == "failing", "before anybody asks, too"
    assert hit(ask(own, model, "what is the capital of france")) is None
    failing = row()
    assert (failing["state"], "semantic" in failing["error"], failing["errors"] > 0) == ("failing", True, True), failing
    assert f"failing: {failing['error'][:20]}" in own.ok("cache", "stats").out
    place.unlink()
    ask(own, model, "What is the capital of Norway?")
    assert (row()["state"], row()["error"], row()["entries"]) == ("ok", None, 1)


def test_cache_undo_without_a_matching_request_is_refused(home: House) -> None:
    refused(home.run("cache", "undo", "--user", "nobody"), 5, "no request of nobody", "--json")
    refused(home.run("cache", "undo", "ffff"), 5, "begins with ffff")
    refused(home.run("cache", "undo", ""), 5, "the id is empty")


def test_a_second_cache_undo_takes_the_previous_hit(own: House, endpoint: Server) -> None:
    model = added(own, endpoint)
    for subject in ("France", "Norway"):
        ask(own, model, f"What is the capital of {subject}?")
        assert hit(ask(own, model, f"what is the capital of {subject.lower()}", "--user", "eve")) is None
        own.ok("ask", f"What is the capital of {subject}?", "-m", model, "--semantic", "--user", "eve")
        own.ok("ask", f"so, what is the capital of {subject.lower()}?", "-m", model, "--semantic", "--user", "eve")
    keys = [line["prompt"] for line in own.ok("cache", "undo", "--user", "eve", "--json").lines]
    before = [line["prompt"] for line in own.ok("cache", "undo", "--user", "eve", "--json").lines]
    assert "norway" in keys[0].casefold()
    assert "france" in before[0].casefold()
    refused(own.run("cache", "undo", "--user", "eve"), 5, "that can be rejected")


def test_a_full_disk_at_conversion_of_the_embedding_model_fails_no_request(endpoint: Server) -> None:
    """The bundled model is converted at first use, which needs space; without it the answer is computed."""
    with a_house() as home:
        home.ok("models", "ls")
        folder = home.place / "cache" / "models"
        folder.mkdir(parents=True, mode=0o700)
        mount = ["mount", "-t", "tmpfs", "-o", "size=256k,mode=0700", "none", str(folder)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("a small disk cannot be mounted here")
        try:
            outcome = ask(home, added(home, endpoint), QUESTION)
            assert outcome.last["text"]
            assert "the semantic cache is not used" in outcome.err
            assert "No space left" in outcome.err
        finally:
            home.run("daemon", "stop")
            subprocess.run(["umount", "-l", str(folder)], check=True)


def test_cache_clear_also_removes_the_stored_questions(home: House, endpoint: Server) -> None:
    model = added(home, endpoint)
    ask(home, model, QUESTION)
    home.ok("cache", "clear", "-m", model, "--yes")
    assert hit(ask(home, model, "what is the capital of france")) is None


def test_stored_questions_survive_a_restart_and_a_kill(endpoint: Server) -> None:
    with a_house() as home:
        model = added(home, endpoint)
        ask(home, model, QUESTION)
        home.ok("daemon", "restart")
        assert hit(ask(home, model, "what is the capital of france")) == "semantic"
        ask(home, model, "How do I bake bread?")
        hub = home.hub()
        hub.send_signal(signal.SIGKILL)
        hub.wait()
        assert hit(ask(home, model, "how do i bake bread")) == "semantic"


# ---- the judge ------------------------------------------------------------------------------------------------------

RESTATED = [QUESTION, "what is the capital of france", "What's the capital of France, please?"]
"""The first hits of a hub are all verified: where the answers are not equal, by a judge."""


def fair(request: str, answer: str, other: str) -> str:
    """A judge that is right about the examination and about the pairs of this file."""
    exams = {(exam["request"], exam["other"]): exam["serves"] for exam in examination()}
    return json.dumps({"serves": exams.get((request, other), True)})


def examination() -> list[dict[str, Any]]:
    from llmctld.semantic import judge

    return [{"request": each.request, "other": each.other, "serves": each.serves} for each in judge.exams()]


def judged(home: House) -> dict[str, Any]:
    found: dict[str, Any] = home.ok("cache", "audit", "--json").last["semantic"]
    return found


@pytest.mark.parametrize(("verdicts", "state"), [(fair, "the model that wrote the answer"), (None, "not used")])
def test_a_judge_is_examined_before_its_verdicts_count(endpoint: Server, verdicts: Any, state: str) -> None:
    endpoint.usual = talker(lambda question: f"{question} Well" + " well" * len(question), verdicts)
    with a_house() as home:
        model = added(home, endpoint)
        for question in RESTATED:
            ask(home, model, question)
        asked = 20 if verdicts else 5
        until(lambda: judged(home)["judged"] >= asked, what="the examination to be over")
        until(lambda: judged(home)["judge"] == state, what="its verdict")
        before = judged(home)["judged"]
        home.ok("daemon", "restart")
        assert judged(home) | {"judge": state, "judged": before} == judged(home), "it is not examined again"


def test_no_judge_is_asked_if_the_setting_is_none(endpoint: Server) -> None:
    endpoint.usual = talker(lambda question: f"{question} Well" + " well" * len(question), fair)
    with a_house(LLMCTL_CACHE__SEMANTIC__JUDGE="none") as home:
        model = added(home, endpoint)
        for question in RESTATED:
            ask(home, model, question)
        until(lambda: judged(home)["verified"] >= 1, what="a hit to be verified")
        assert len(endpoint.asked) <= 2 * len(RESTATED)
        assert (judged(home)["judge"], judged(home)["judged"]) == ("none", 0)


# ---- failures -------------------------------------------------------------------------------------------------------


def test_a_missing_embedding_model_is_an_error_only_if_semantic_was_requested_by_flag(endpoint: Server) -> None:
    with a_house(LLMCTL_CACHE__SEMANTIC__MODEL="nosuch") as home:
        model = added(home, endpoint)
        refused(home.run("ask", QUESTION, "-m", model, "--semantic"), 4, "nosuch")
        assert home.ok("ask", QUESTION, "-m", model).out
    with a_house(LLMCTL_CACHE__SEMANTIC__MODEL="nosuch", LLMCTL_CACHE__SEMANTIC__ENABLED="true") as home:
        model = added(home, endpoint)
        outcome = home.ok("ask", QUESTION, "-m", model)
        assert "the semantic cache is not used" in outcome.err
        assert "semantic cache" not in home.ok("ask", "why?", "-m", model).err, "it is said once"


@pytest.mark.parametrize("file", ["semantic.db", "vectors.bin"])
def test_damaged_semantic_files_are_set_aside_and_reported(endpoint: Server, file: str) -> None:
    with a_house() as home:
        model = added(home, endpoint)
        ask(home, model, QUESTION)
        home.ok("daemon", "stop")
        (path,) = home.home.rglob(file)
        path.write_bytes(b"not what it was" * 100)
        outcome = ask(home, model, "what is the capital of france")
        assert "damaged" in outcome.err
        assert hit(outcome) == ("semantic" if file == "vectors.bin" else None), (
            "the index is made of the database again"
        )
        assert list(path.parent.glob(f"{path.stem}*damaged*"))
        assert hit(ask(home, model, "What's the capital of France?")) == "semantic"


def test_semantic_files_removed_under_a_running_hub_are_created_anew(own: House, endpoint: Server) -> None:
    model = added(own, endpoint)
    ask(own, model, QUESTION)
    with own.still():
        shutil.rmtree(own.place / "cache")
    outcome = ask(own, model, "How do I bake bread?")
    assert outcome.last["text"] == "Paris, of course."
    assert outcome.err.count("the file of stored questions was removed; new questions are stored from now on") == 1
    assert hit(ask(own, model, "how do i bake bread")) == "semantic"
    own.ok("daemon", "restart")
    assert hit(ask(own, model, "HOW DO I BAKE BREAD?!")) == "semantic"


def test_a_semantic_folder_that_cannot_be_created_fails_no_request(endpoint: Server) -> None:
    with a_house() as home:
        home.ok("models", "ls")
        (home.place / "cache").mkdir(parents=True, mode=0o700)
        (home.place / "cache" / "semantic").write_text("a file where a folder belongs")
        outcome = ask(home, added(home, endpoint), QUESTION)
        assert outcome.last["text"] == "Paris, of course."
        assert "the stored questions cannot be opened" in outcome.err


def test_an_invalid_max_error_is_refused(house: House) -> None:
    for value in ("0", "1", "often"):
        outcome = house.run("ask", "x", LLMCTL_CACHE__SEMANTIC__MAX_ERROR=value)
        refused(outcome, 2, "cache.semantic.max_error")
