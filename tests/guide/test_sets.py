"""The two lists by which the guide model is judged: their form, and that each right answer is a command that exists.

`held_out.jsonl`: questions about llmctl in people's own words, written from the documentation and `--help` alone, before
any training text existed and by somebody who saw none. Nobody who writes training texts reads it; only `likeness` compares
the two. A row is {"topic", "question", "right", "setting"}:
- `right` lists the command lines of which a good answer shows one first, each as short as it is specific. Other programs
  (`make install`, `export VARIABLE`) occur where they are the answer.
- `setting`, where the answer may be to edit the configuration: what the answer must name, if its command line is only
  `llmctl config path`, `llmctl config init` or `llmctl daemon restart`.
`lines.is_right` judges an answer by its first command line.

`unrelated.jsonl`: questions that are not about llmctl, {"question", "near"}; `near` marks the same verb or noun on another
tool. The right answer is that the guide knows only llmctl.
"""

import itertools
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
import tomli

from llmctl import config
from tests.guide import likeness, lines

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DOCS = "\n".join(page.read_text(encoding="utf-8") for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


class HeldOut(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    topic: str
    question: str
    right: list[str]
    setting: str | None = None


class Unrelated(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    question: str
    near: bool = False


def rows(name: str, kind: Any) -> list[Any]:
    return [msgspec.json.decode(line, type=kind) for line in (HERE / name).read_bytes().splitlines()]


HELD_OUT: list[HeldOut] = rows("held_out.jsonl", HeldOut)
UNRELATED: list[Unrelated] = rows("unrelated.jsonl", Unrelated)
SETTINGS = {f"{section}.{key}" for section, inner in config.sections(config.Config()) for key in config.keys(inner)}
SETTINGS |= {config.SEARCH, *(f"models.NAME.{key}" for key in config.keys(config.ModelSettings()))}
ENTRIES = [(row.question, entry) for row in HELD_OUT for entry in row.right]


def test_the_lists_are_long_enough() -> None:
    assert len(HELD_OUT) >= 240
    assert len(UNRELATED) >= 220
    assert sum(row.near for row in UNRELATED) >= 70


def test_no_topic_has_more_than_four_questions() -> None:
    assert {topic: n for topic, n in Counter(row.topic for row in HELD_OUT).items() if n > 4} == {}


def test_no_two_questions_are_alike() -> None:
    questions = [row.question for row in HELD_OUT] + [row.question for row in UNRELATED]
    assert not {text for text, n in Counter(map(likeness.plain, questions)).items() if n > 1}
    for at, question in enumerate(questions):
        assert list(likeness.pairs_above([question], questions[:at])) == []


def test_each_right_line_is_one_that_the_live_command_line_takes() -> None:
    wrong = []
    for question, entry in ENTRIES:
        try:
            lines.parse(entry)
        except ValueError as error:
            wrong.append(f"{question}: {error}")
    assert wrong == []


def test_a_question_has_a_right_line_and_names_none_twice() -> None:
    for row in HELD_OUT:
        assert row.right, row.question
        assert len({lines.parse(entry) for entry in row.right}) == len(row.right), row.question


def test_each_variable_of_a_right_line_is_a_setting_or_documented() -> None:
    settings = {f"LLMCTL_{name}".replace(".", "__").upper() for name in SETTINGS}
    for question, entry in ENTRIES:
        for name in re.findall(r"\b[A-Z]+(?:_+[A-Z]+)+\b", entry):
            assert name in settings or ("__" not in name and name in DOCS), (question, entry)


def test_each_setting_exists_and_stands_with_a_line_that_leads_to_the_file() -> None:
    for row in HELD_OUT:
        if row.setting is not None:
            assert row.setting in SETTINGS, row.question
            assert {"llmctl config path", "llmctl config init"} & set(row.right), row.question


def test_targets_and_extras_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    extras = tomli.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    for question, entry in ENTRIES:
        words = entry.split()
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, flags=re.M), (question, entry)
            assert all(re.search(rf"\b{word}\b", makefile) for word in words[2:]), (question, entry)
        assert set(re.findall(r"\[(\w+)\]", entry)) <= set(extras), (question, entry)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("llmctl cache undo 3f2a", "llmctl cache undo"),
        ("git diff | llmctl ask 'why?' -m qwen", "| llmctl ask"),
        ("git diff|llmctl ask 'why?'", "| llmctl ask"),
        ("llmctl models pull OWNER/NAME:Q8_0", "llmctl pull Q8_0"),
        ("llmctl ask 'and then?' --continue", "llmctl ask -c"),
        ("llmctl ask --max-tokens=5 'why?'", "llmctl ask --max-tokens"),
        ("llmctl models add a a.gguf --set context=4096", "llmctl models add context"),
        ("llmctl ask 'why?' | head -n 1  # one line", "llmctl ask |"),
        ("LLMCTL_CACHE__TTL=7d llmctl daemon restart", "LLMCTL_CACHE__TTL llmctl"),
        ("llmctl ask -m story -- '-5 + 3 = ?'", "llmctl ask --"),
        ("llmctl models add box http://localhost:8080/v1", "llmctl models add http"),
        ("llmctl models add a a.gguf --alias b", "llmctl models add"),
        ("llmctl models set a context=4096", "llmctl models add context"),
        ("llmctl models set a --alias b", "llmctl models add --alias"),
        ("llmctl daemon logs -n 20", "llmctl daemon logs"),
        ("HF_TOKEN=... llmctl pull OWNER/PRIVATE --set context=16384", "HF_TOKEN llmctl pull"),
        ("llmctl -q ask 'why?'", "llmctl ask -q"),
        ("/exit", "/exit"),
        ("pip install 'llmctl[shared]'", "pip install [shared]"),
    ],
)
def test_a_line_shows_what_is_wanted(line: str, wanted: str) -> None:
    assert lines.shows(line, wanted)


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("llmctl cache audit", "llmctl cache undo"),
        ("llmctl ask 'what does -x mean'", "llmctl ask -x"),
        ("llmctl ask 'why?' --no-semantic", "llmctl ask --semantic"),
        ("llmctl ask 'why?' --refresh", "llmctl ask"),
        ("llmctl ask 'why?' --fresh", "llmctl ask"),
        ("llmctl ask 'why?' | head -n 1", "llmctl ask -n"),
        ("llmctl ask 'why?'  # or with --refresh", "llmctl ask --refresh"),
        ("llmctl models pin story --off", "llmctl models pin"),
        ("llmctl cache clear --older 7d", "llmctl cache clear"),
        ("llmctl models add a a.gguf --set threads=4", "llmctl models add"),
        ("llmctl models set a context=4096", "llmctl models add"),
        ("llmctl models set a context=4096", "llmctl models add threads"),
        ("llmctl models set a --unset context", "llmctl models add context"),
        ("llmctl models add box http://localhost:8080/v1", "llmctl models add"),
        ("llmctl cache forget", "llmctl"),
        ("llmctl ask -f a.txt 'why?'", "| llmctl ask"),
        ("llmctl models pullover a", "llmctl pull"),
        ("make test", "make install"),
        ("/leave", "/exit"),
        ("export HF_TOKEN=x", "llmctl"),
        ("I only know llmctl", "llmctl ask"),
        ("", "llmctl"),
    ],
)
def test_a_line_does_not_show_what_is_wanted(line: str, wanted: str) -> None:
    assert not lines.shows(line, wanted)


def test_a_line_that_leads_to_the_file_is_right_only_beside_the_setting() -> None:
    right = ["llmctl config path", "LLMCTL_CACHE__TTL llmctl"]
    assert lines.is_right('Put ttl = "7d" into [cache] of this file', "llmctl config path", right, "cache.ttl")
    assert lines.is_right("In one run", "LLMCTL_CACHE__TTL=7d llmctl daemon restart", right, "cache.ttl")
    assert not lines.is_right("It prints where the file is", "llmctl config path", right, "cache.ttl")
    assert lines.is_right("It prints where the file is", "llmctl config path", right)
    assert not lines.is_right("Put ttl into it", "llmctl config show", right, "cache.ttl")


def test_the_ratio_is_that_of_edits_and_has_no_order() -> None:
    assert likeness.ratio("Clear the cache!", "clear  the cache") == 1
    assert likeness.ratio("abcd", "abce") == 0.75
    assert likeness.ratio("?", "...") == 0
    for one, other in itertools.combinations([row.question for row in HELD_OUT[::40]], 2):
        assert likeness.ratio(one, other) == likeness.ratio(other, one) < likeness.LIMIT


def test_texts_close_to_a_held_out_question_are_found() -> None:
    held_out = [row.question for row in HELD_OUT]
    texts = [held_out[3] + " please", "nothing of the kind", held_out[-1].upper()]
    assert [found for _, found, _ in likeness.pairs_above(texts, held_out)] == [held_out[3], held_out[-1]]


def test_each_row_is_one_line_of_plain_json() -> None:
    for name in ("held_out.jsonl", "unrelated.jsonl"):
        for line in (HERE / name).read_text(encoding="utf-8").splitlines():
            assert json.dumps(json.loads(line), ensure_ascii=False) == line
