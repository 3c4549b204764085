"""Structured output, samples and log-probabilities: what the installed command prints, and what it refuses before it computes."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import PATIENCE_S, House, Outcome, until
from tests.e2e.house import house as a_house

ANSWER = ("--no-stream", "--json")
YES = 'root ::= "yes" | "no"\n'


@pytest.fixture(scope="module")
def home(tiny: Path) -> Iterator[House]:
    """`tiny`, a real model, and `echo`; no test here changes either."""
    with a_house() as made:
        made.ok("models", "add", "tiny", tiny)
        yield made.echo()


def refused(outcome: Outcome, status: int, *words: str) -> None:
    """The status, nothing on stdout, and on stderr what is wrong and what to do."""
    assert outcome.status == status, outcome
    assert outcome.out == ""
    assert "Traceback" not in outcome.err
    assert len(outcome.err.strip().splitlines()) >= 2, f"no hint: {outcome.err}"
    for word in words:
        assert word in outcome.err, (word, outcome.err)


def of_a_script(home: House, code: str) -> str:
    """What a Python program prints that uses the client."""
    done = subprocess.run(
        [sys.executable, "-c", code], env=home.environ(), capture_output=True, text=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


# ---- schemas --------------------------------------------------------------------------------------------------------


def test_a_short_schema_constrains_the_answer_to_its_fields(home: House) -> None:
    outcome = home.ok("ask", "who?", "-m", "tiny", "--schema", "age int, ok bool", *ANSWER)
    value = outcome.last["value"]
    assert json.loads(outcome.last["text"]) == value
    assert list(value) == ["age", "ok"]
    assert (type(value["age"]), type(value["ok"])) == (int, bool)
    assert outcome.last["finish_reason"] == "stop"


def test_plain_output_is_the_json_text_and_is_streamed(home: House) -> None:
    plain = home.ok("ask", "who?", "-m", "tiny", "--schema", "age int, ok bool", "--temperature", "0")
    assert list(json.loads(plain.out)) == ["age", "ok"]
    streamed = home.ok(
        "ask", "who?", "-m", "tiny", "--schema", "age int, ok bool", "--temperature", "0", "--json", "--refresh"
    )
    assert streamed.pieces + "\n" == plain.out
    assert len(streamed.lines) > 2, "some text comes before the last"
    assert streamed.last["value"] == json.loads(plain.out)


def test_every_type_of_the_short_schema_is_generated(home: House) -> None:
    outcome = home.ok(
        "ask", "x", "-m", "echo", "--schema", "name, age int, score float, ok bool, tags list, note: a, really"
    )
    refused(home.run("ask", "x", "-m", "echo", "--schema", "a: one, b c d"), 2, "b c d")
    assert json.loads(outcome.out) == {
        "name": "",
        "age": 0,
        "score": 0,
        "ok": False,
        "tags": [],
        "note": "",
        "really": "",
    }
    lines = home.ok("ask", "x", "-m", "echo", "--schema", "name: who, or what\nage int")
    assert json.loads(lines.out) == {"name": "", "age": 0}


def test_a_schema_is_given_as_a_file_or_inline(home: House) -> None:
    schema = {"type": "array", "items": {"enum": ["red", "green"]}, "minItems": 2, "maxItems": 2}
    (home.home / "colours.json").write_text(json.dumps(schema, indent=4))
    inline = home.ok("ask", "which?", "-m", "tiny", "--schema", json.dumps(schema), *ANSWER).last
    assert len(inline["value"]) == 2
    assert set(inline["value"]) <= {"red", "green"}
    filed = home.ok("ask", "which?", "-m", "tiny", "--schema", "colours.json", *ANSWER).last
    assert (filed["value"], filed["cache"]["hit"]) == (inline["value"], "memory"), "the same schema, laid out otherwise"


def test_a_cached_answer_keeps_its_value_and_is_keyed_by_its_schema(home: House) -> None:
    def asked(*options: object) -> dict[str, Any]:
        return home.ok("ask", "keyed", "-m", "echo", *options, *ANSWER).last

    first, again = asked("--schema", "age int"), asked("--schema", "age int")
    assert (first["cache"]["hit"], again["cache"]["hit"]) == (None, "memory")
    assert again["value"] == first["value"] == {"age": 0}
    (home.home / "yes.gbnf").write_text(YES)
    others = [asked("--schema", "ages int"), asked("--grammar", "yes.gbnf"), asked(), asked("--logprobs", "1")]
    assert [other["cache"]["hit"] for other in others] == [None] * 4
    assert len({other["cache"]["key"] for other in [first, *others]}) == 5


def test_templates_and_the_client_accept_a_schema(home: House) -> None:
    home.ok("ask", "--save", "person", "-m", "echo", "--schema", "name, age int")
    assert json.loads(home.ok("ask", "-t", "person", "ana").out) == {"name": "", "age": 0}
    (home.home / "list.yaml").write_text(
        "model: echo\nschema:\n  type: array\n  items: {type: integer}\n  minItems: 1\n"
    )
    assert json.loads(home.ok("ask", "-t", "./list.yaml", "x").out) == [0]
    code = "from llmctl import Client\nwith Client() as c:\n print(c.ask('x', model='echo', schema={'const': {'a': [1]}}).value)"
    assert of_a_script(home, code) == "{'a': [1]}\n"


@pytest.mark.parametrize(
    "options",
    [
        ("--temperature", "1.5", "--seed", "4", "--top-k", "3", "--top-p", "0.9", "--min-p", "0.01"),
        ("--repeat-penalty", "1.5", "--presence-penalty", "1", "--frequency-penalty", "1", "--seed", "1"),
        ("--logit-bias", "q=100", "--logit-bias", "2=-100", "--temperature", "0"),
        ("--logprobs", "2", "--temperature", "0"),
    ],
)
def test_a_schema_holds_under_every_sampling_option(home: House, options: tuple[str, ...]) -> None:
    schema = '{"enum": ["apple", "pear", "plum"]}'
    assert home.ok("ask", "fruit?", "-m", "tiny", "--schema", schema, *options, *ANSWER).last["value"] in {
        "apple",
        "pear",
        "plum",
    }


def test_a_model_that_loops_on_white_space_completes_its_json(home: House) -> None:
    blanks = [f"--logit-bias={token}=100" for token in (3 + 10, 3 + 32, 263, 312)]  # line end and blank, twice
    loop = home.ok("ask", "hi", "-m", "tiny", *blanks, "--max-tokens", "20", "--temperature", "0", *ANSWER).last
    assert loop["text"].strip() == "", "it loops without a schema"
    held = home.ok(
        "ask", "hi", "-m", "tiny", *blanks, "--schema", "ok bool, no bool", "--temperature", "0", *ANSWER
    ).last
    assert set(held["value"]) == {"ok", "no"}
    assert held["usage"]["completion_tokens"] < 250


def test_a_truncated_json_answer_is_printed_with_status_8_and_not_stored(home: House) -> None:
    asking = ("ask", "who?", "-m", "tiny", "--schema", "name, age int", "--max-tokens", "6", "--temperature", "0")
    cut = home.run(*asking)
    assert cut.status == 8
    assert cut.out.startswith("{")
    assert "6 tokens" in cut.err
    assert "--max-tokens" in cut.err
    again = home.run(*asking, "--json")
    assert again.status == 8
    assert again.error["code"] == "incomplete"
    assert (again.last["cache"]["hit"], again.last["value"]) == (None, None)
    assert again.last["text"] + "\n" == cut.out


def test_a_stop_string_that_breaks_the_json_is_status_8(home: House) -> None:
    cut = home.run("ask", "who?", "-m", "echo", "--schema", "name, age int", "--stop", "age")
    assert (cut.status, cut.out) == (8, '{"name":"","\n')


DEEP = '{"items":' * 80 + "{}" + "}" * 80
REFUSED = {
    "bad JSON": ('{"type": "object"', "not JSON"),
    "no constants": ('{"const": NaN}', "NaN"),
    "short form with a wrong type": ("name, age integer", "'integer'"),
    "short form that is none": ("name age size", "name age size"),
    "a field twice": ("name, name", "two fields named name"),
    "an empty one": ("", "short form"),
    "a remote reference": (
        '{"$ref": "https://example.com/person.json"}',
        "https://example.com/person.json",
        "Nothing is downloaded",
    ),
    "a reference to nothing": ('{"$ref": "#/$defs/none"}', "/$defs/none"),
    "an unsupported keyword": ('{"not": {"type": "string"}}', '"not"', "Remove these keywords"),
    "a type that is none": ('{"type": "integr"}', "integr"),
    "a contradiction": ('{"type": "integer", "minimum": 5, "maximum": 3}', "minimum (5)"),
    "no value at all": ('{"$ref": "#"}', "no text satisfies it"),
    "a huge one": ('{"enum": ["' + "x" * 70_000 + '"]}', "70013 bytes", "65536"),
    "a deep one": (DEEP, "64 deep"),
    "hours of compiling": ('{"type": "integer", "multipleOf": 999983}', "time and memory", "Simplify it"),
    "a pattern that is none": ('{"type": "string", "pattern": "(a"}', "unclosed group"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_a_schema_that_does_not_compile_is_status_2(home: House, kind: str) -> None:
    schema, *words = REFUSED[kind]
    refused(home.run("ask", "x", "-m", "echo", "--schema", schema), 2, *words)


PRIMES = (999961, 999979, 999983)
"""Each keeps the compiler busy for twenty seconds."""


def test_compiling_a_slow_schema_delays_no_other_request(home: House) -> None:
    """Other requests are answered while slow schemas are compiled and given up."""
    evil = [
        home.spawn("ask", "x", "-m", "echo", "--schema", f'{{"type":"integer","multipleOf":{prime}}}')
        for prime in PRIMES
    ]
    assert home.ok("ask", "quick", "-m", "echo").out == "quick\n"
    assert [command.end().status for command in evil] == [2, 2, 2]
    assert home.ok("ask", "x", "-m", "echo", "--schema", "fine bool").out == '{"fine":false}\n'


def test_missing_schema_and_grammar_files_are_status_5(home: House) -> None:
    (home.home / "person.json").write_text("{}")
    refused(home.run("ask", "x", "-m", "echo", "--schema", "persom.json"), 5, "persom.json", "person.json")
    refused(home.run("ask", "x", "-m", "echo", "--grammar", "nowhere.gbnf"), 5, "nowhere.gbnf")


# ---- grammars -------------------------------------------------------------------------------------------------------


def test_a_grammar_constrains_the_answer(home: House) -> None:
    (home.home / "date.gbnf").write_text('root ::= year "-" two\nyear ::= "20" two # a comment\ntwo ::= [0-9]{2}\n')
    outcome = home.ok("ask", "when?", "-m", "tiny", "--grammar", "date.gbnf")
    year, _, month = outcome.out.strip().partition("-")
    assert (len(outcome.out), year[:2]) == (8, "20")
    assert (year + month).isdigit()
    assert home.ok("ask", "when?", "-m", "echo", "--grammar", "date.gbnf").out == "2000-00\n"


def test_a_truncated_grammar_answer_is_status_8(home: House) -> None:
    (home.home / "long.gbnf").write_text('root ::= "abcdef"\n')
    cut = home.run("ask", "x", "-m", "tiny", "--grammar", "long.gbnf", "--max-tokens", "3")
    assert (cut.status, cut.out) == (8, "abc\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [('root ::= "a', "line 1"), ('root ::= "a"\n\nother = 3', "line 3"), ('rot ::= "a"', "'root'"),
     ('root ::= "a" root', "no text"), ('root ::= "a"{5000}', "2000")],
)  # fmt: skip
def test_a_grammar_that_does_not_compile_is_status_2(home: House, text: str, words: str) -> None:
    (home.home / "bad.gbnf").write_text(text)
    refused(home.run("ask", "x", "-m", "tiny", "--grammar", "bad.gbnf"), 2, words)


def test_a_schema_excludes_a_grammar_and_a_code_block(home: House) -> None:
    (home.home / "yes.gbnf").write_text(YES)
    refused(home.run("ask", "x", "-m", "echo", "--schema", "a", "--grammar", "yes.gbnf"), 2, "--schema", "--grammar")
    refused(home.run("ask", "x", "-m", "echo", "--schema", "a", "-x"), 2, "--schema", "--extract")


# ---- log-probabilities ----------------------------------------------------------------------------------------------


def test_logprobs_contain_each_token_and_its_likely_alternatives(home: House) -> None:
    last = home.ok(
        "ask", "once", "-m", "tiny", "--logprobs", "3", "--max-tokens", "5", "--temperature", "0", *ANSWER
    ).last
    assert len(last["logprobs"]) == last["usage"]["completion_tokens"] == 5
    assert "".join(each["token"] for each in last["logprobs"]) == last["text"]
    for each in last["logprobs"]:
        assert len(each["top"]) == 3
        assert each["top"][0] == {"token": each["token"], "logprob": each["logprob"]}, "greedy takes the likeliest"
        assert 0 >= each["top"][0]["logprob"] >= each["top"][1]["logprob"] >= each["top"][2]["logprob"]


def test_logprobs_0_has_no_alternatives_and_is_cached_apart_from_none(home: House) -> None:
    asking = ("ask", "once", "-m", "tiny", "--max-tokens", "2", "--temperature", "0", *ANSWER)
    assert home.ok(*asking).last["logprobs"] is None
    bare = home.ok(*asking, "--logprobs", "0").last
    assert [each["top"] for each in bare["logprobs"]] == [[], []]
    assert bare["cache"]["hit"] is None, "an answer without them does not stand in"
    assert home.ok(*asking, "--logprobs", "0").last["logprobs"] == bare["logprobs"], "stored with them"


@pytest.mark.parametrize("count", ["-1", "21", "99"])
def test_logprobs_above_the_maximum_is_status_5(home: House, count: str) -> None:
    refused(home.run("ask", "x", "-m", "echo", "--logprobs", count), 5, "logprobs", count, "20")


# ---- samples --------------------------------------------------------------------------------------------------------

HOT = ("--temperature", "1.5", "--top-k", "0", "--top-p", "1", "--min-p", "0", "--max-tokens", "12")


def test_samples_are_printed_in_order_each_with_its_final_line(home: House) -> None:
    plain = home.ok("ask", "tell", "-m", "tiny", "-n", "3", "--seed", "5", *HOT, "--logit-bias", "312=-100").out
    texts = plain.removesuffix("\n").split("\n---\n")
    assert len(set(texts)) == 3
    told = home.ok(
        "ask", "tell", "-m", "tiny", "-n", "3", "--seed", "5", *HOT, "--logit-bias", "312=-100", "--json", "--refresh"
    )
    last = [line for line in told.lines if "delta" not in line]
    assert [line["index"] for line in last] == [0, 1, 2]
    assert [line["text"] for line in last] == texts
    assert told.lines[-3:] == last, "the last lines are the last"
    deltas = [line for line in told.lines if "delta" in line]
    assert ["".join(line["delta"] for line in deltas if line["index"] == index) for index in range(3)] == texts
    assert [line["index"] for line in deltas] == sorted(line["index"] for line in deltas)


def test_each_sample_equals_a_single_request_with_its_seed(home: House) -> None:
    asking = ("ask", "tell", "-m", "tiny", *HOT, *ANSWER)
    three = home.ok(*asking, "-n", "3", "--seed", "40").lines
    alone = [home.ok(*asking, "--seed", str(40 + index)).last for index in range(3)]
    assert [line["text"] for line in three] == [line["text"] for line in alone]
    assert [line["cache"]["hit"] for line in alone] == [None] * 3, "their keys are their own"


def test_samples_share_one_prefill(home: House) -> None:
    lines = home.ok("ask", "word " * 60, "-m", "tiny", "-n", "4", *HOT, *ANSWER).lines
    (length,) = {line["usage"]["prompt_tokens"] for line in lines}
    assert length > 250
    computed = [length - line["usage"]["cached_tokens"] for line in lines]
    assert sum(computed) <= length + 3 * 8, computed
    rows = home.records("sample, prompt_tokens, cached_tokens, completion_tokens, text", f"id = '{lines[0]['id']}'")
    assert [(row["sample"], row["text"]) for row in rows] == [(line["index"], line["text"]) for line in lines]
    for row, line in zip(rows, lines, strict=True):
        assert {name: row[name] for name in line["usage"]} == line["usage"]


def test_all_samples_are_stored_under_one_key(home: House) -> None:
    asking = ("ask", "stored", "-m", "tiny", "--seed", "3", *HOT, "-n", "3")
    first, again = home.ok(*asking, *ANSWER).lines, home.ok(*asking, *ANSWER).lines
    assert [line["text"] for line in again] == [line["text"] for line in first]
    assert [line["cache"]["hit"] for line in first + again] == [None] * 3 + ["memory"] * 3
    assert len({line["cache"]["key"] for line in first + again}) == 1
    assert "--refresh" in home.ok(*asking).err
    unseeded = ("ask", "stored", "-m", "tiny", *HOT, "-n", "2", *ANSWER)
    assert [home.ok(*unseeded).lines[0]["cache"]["hit"] for _ in range(2)] == [None, None]


def test_each_sample_satisfies_the_schema(home: House) -> None:
    lines = home.ok("ask", "x", "-m", "tiny", "-n", "3", "--schema", "age int", *ANSWER).lines
    assert all(set(line["value"]) == {"age"} for line in lines)
    cut = home.run("ask", "y", "-m", "echo", "-n", "2", "--schema", "name, age int", "--max-tokens", "5")
    assert (cut.status, cut.out) == (8, '{"nam\n---\n{"nam\n')
    assert "sample 0" in cut.err


def test_ctrl_c_ends_all_samples_with_one_final_reply(house: House) -> None:
    house.echo(token_ms=30)
    asking = house.spawn("ask", "s" * 200, "-n", "3", "--json")
    asking.first_byte()
    asking.send_signal(signal.SIGINT)
    ended = asking.end()
    assert ended.status == 130
    last = [line for line in ended.lines if "delta" not in line]
    assert [(line["index"], line["finish_reason"]) for line in last] == [(index, "cancelled") for index in range(3)]
    assert 0 < len(last[0]["text"]) < 200
    assert all(len(line["text"]) < 200 for line in last)
    until(lambda: house.busy("echo") == 0)
    assert [row["state"] for row in house.records()] == ["cancelled"] * 3


def test_a_timeout_prints_the_partial_text_of_each_sample(house: House) -> None:
    house.echo(token_ms=500)
    house.ok("models", "load", "echo")
    for limit in ("1s", "4s", "16s"):  # the first is enough where both have a token by then
        late = house.run("ask", "s" * 300, "-n", "2", "--timeout", limit, "--json")
        assert late.status == 7
        last = [line for line in late.lines if "delta" not in line]
        if all(line["text"] for line in last):
            break
    assert [(line["index"], line["finish_reason"]) for line in last] == [(0, "timeout"), (1, "timeout")]
    assert all(0 < len(line["text"]) < 300 for line in last)


def test_a_killed_engine_ends_all_samples(house: House) -> None:
    house.echo("dying", fail="crash")
    dead = house.run("ask", "some words", "-m", "dying", "-n", "2", "--json")
    assert dead.status == 9
    assert dead.error["code"] == "engine_failed"
    assert [line["index"] for line in dead.lines if "delta" not in line] == [0, 1]


@pytest.mark.parametrize("count", ["0", "-1", "65", "1000"])
def test_a_number_of_samples_out_of_range_is_status_5(home: House, count: str) -> None:
    refused(home.run("ask", "x", "-m", "echo", "-n", count), 5, f"n is {count}", "between 1 and 64")


def test_the_client_and_templates_accept_samples(home: House) -> None:
    code = (
        "from llmctl import Client, LlmctlError\nwith Client() as c:\n"
        " print([(a.index, a.text) for a in c.samples('hi', n=2, model='echo')])\n"
        " try: c.ask('hi', n=2, model='echo')\n except LlmctlError as e: print(e.code, e.hint)"
    )
    assert of_a_script(home, code) == "[(0, 'hi'), (1, 'hi')]\nusage `Client.samples` returns several.\n"
    home.ok("ask", "--save", "twice", "-m", "echo", "-n", "2")
    assert home.ok("ask", "-t", "twice", "again").out == "again\n---\nagain\n"
