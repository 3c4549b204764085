"""What the figures of the caches rest on: the split of the groups, targets in both directions, words for who gives no data."""

import gzip
import json
import subprocess
import sys
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from llmctld.semantic.judge import exams
from llmctld.semantic.same import same_answer

from tests.bench.cache import data, stream
from tests.bench.cache.data import TextPair
from tests.bench.cache.endpoint import Endpoint, coded, decoded, serving
from tests.bench.cache.pairs import grouped, read
from tests.bench.measure import Number
from tests.e2e.house import REPOSITORY, house


def test_groups_are_split_by_the_crc_of_their_decimal_number() -> None:
    halves = [data.Question("?", group).reported for group in range(1000)]
    assert halves[:6] == [True, True, True, True, False, False]
    assert 450 < sum(halves) < 550


def test_a_target_may_be_a_least_value() -> None:
    assert Number("hits", 0.3, "", 0.25, least=True).row() == "| hits | 0.3  | >= 0.25  | pass |"
    assert not Number("hits", 0.2, "", 0.25, least=True).passes
    assert Number("wrong", 0.2, "", 0.25).passes


def test_a_folder_is_read_as_it_is(tmp_path: Path) -> None:
    assert data.missing(tmp_path) == [data.STREAM, data.NEAR, data.PAIRS]
    for name, line in ((data.STREAM, {"text": "a?", "group": 7}), (data.NEAR, {"a": "a?", "b": "b?", "same": 0})):
        with gzip.open(tmp_path / name, "wt") as file:
            file.write(json.dumps(line) + "\n")
    assert data.missing(tmp_path) == [data.PAIRS]
    assert data.stream(tmp_path) == [data.Question("a?", 7)]
    assert data.near_pairs(tmp_path) == [data.TextPair("a?", "b?", False)]


def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "tests.bench.cache", "--no-log", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)


def test_who_names_no_row_or_no_data_is_told_what_there_is(tmp_path: Path) -> None:
    unknown = run("--rows", "nonsense")
    assert unknown.returncode == 2
    assert "there is no row nonsense: there are " in unknown.stderr
    empty = run("--data", str(tmp_path))
    assert empty.returncode == 2
    assert f"has no {data.STREAM}, no {data.NEAR}" in empty.stderr


# ---- the endpoint that knows the answers ----------------------------------------------------------------------------

JUDGE = "<request>\n{}\n</request>\n<answer>\n{}\n</answer>\n<other>\n{}\n</other>"


def test_groups_are_words_and_back() -> None:
    assert [decoded(coded(group)) for group in (0, 60, 61, 55_254, 226_980)] == [0, 60, 61, 55_254, 226_980]
    assert decoded("no-such-words") is None
    endpoint = Endpoint({"a?": 7, "b?": 7}, other_words=True)
    said = {endpoint.answer(question) for question in ["a?", "b?"] * 20}
    assert len(said) > 10
    assert {endpoint.group_of(answer) for answer in said} == {7}


def test_what_is_said_in_other_words_is_equal_for_a_judge_only() -> None:
    endpoint = Endpoint({"a?": 7}, other_words=True)
    verdicts = {same_answer(endpoint.answer("a?"), endpoint.answer("a?")) for _ in range(200)}
    assert verdicts == {True, None}
    assert same_answer(coded(7), coded(8)) is None


def test_a_judge_tells_the_truth_and_knows_the_examination() -> None:
    endpoint = Endpoint({"a?": 7, "b?": 8})
    schema: dict[str, Any] = {"response_format": {}}

    def verdict(*texts: str) -> str:
        return endpoint.reply({**schema, "messages": [{"content": f"You compare ... {JUDGE.format(*texts)}"}]})

    assert verdict("a?", endpoint.answer("a?"), endpoint.answer("a?")) == '{"serves": true}'
    assert verdict("a?", endpoint.answer("a?"), endpoint.answer("b?")) == '{"serves": false}'
    for exam in exams():
        assert verdict(exam.request, exam.answer, exam.other) == f'{{"serves": {str(exam.serves).lower()}}}'
    assert endpoint.verdicts == 2 + len(exams())


def test_a_tenth_of_the_verdicts_is_wrong_where_that_is_wanted() -> None:
    endpoint = Endpoint({}, wrong_verdicts=0.1, seed=1)
    assert 70 <= sum(endpoint.verdict("a?", coded(1), coded(2)) for _ in range(1000)) <= 130


def test_pairs_that_share_an_answer_are_of_one_group() -> None:
    pairs = [TextPair("a", "b", True), TextPair("b", "c", True), TextPair("c", "d", False)]
    groups = grouped(pairs)
    assert groups["a"] == groups["b"] == groups["c"] != groups["d"]


@pytest.mark.parametrize("name", ["opposites", "paraphrases"])
def test_the_lists_are_sixty_pairs_of_five_kinds(name: str) -> None:
    assert len(read(name)) == 60
    lines = (REPOSITORY / "tests" / "hub" / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
    assert set(Counter(json.loads(line)["kind"] for line in lines).values()) == {12}


def test_a_short_stream_through_the_hub_counts_every_call() -> None:
    """Six questions of two groups; the second time each is an exact hit, and nothing else asks the model."""
    asked = [data.Question(f"What is the {word} of the {thing}?", group) for group, thing in enumerate(("sea", "sky"))
             for word in ("colour", "size", "weight")]  # fmt: skip
    endpoint = Endpoint({question.text: question.group for question in asked})
    with serving(endpoint), house() as home, closing(stream.begin(home, endpoint, 0.001)) as client:
        played = stream.play(client, endpoint, [*asked, *asked])
    assert played.requests == 12
    assert played.hits >= 6
    assert played.calls - played.verdicts == endpoint.calls - endpoint.verdicts == 6
    assert played.wrong == 0
