"""Which tokens are allowed: GBNF compared with llama.cpp's own, schemas with a validator, and what is refused."""

import ctypes
import json
import random
from typing import Any

import jsonschema_rs
import llama_cpp.llama_cpp as lib
import numpy as np
import pytest
from llmctld.engine.errors import Refusal
from llmctld.engine.forms import gbnf
from llmctld.engine.forms.grammar import Grammar, of_bytes, smallest
from llmctld.engine.forms.smallest import shortest_text
from llmctld.engine.llama.model import Gguf

from tests.engine.driver import Driver, echo
from tests.tiny_gguf import EOS

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 4}, "age": {"type": "integer", "minimum": 3, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def follows(text: str, schema: Any = None, grammar: str | None = None) -> tuple[int, bool]:
    """The number of bytes of `text` that are allowed, and whether the answer may end there."""
    held = Grammar(of_bytes(), None if schema is None else json.dumps(schema), grammar)
    data = text.encode()
    for at, byte in enumerate(data):
        if not held.allowed()[byte]:
            return at, False
        assert held.take(byte)
    return len(data), held.is_complete


# ---- GBNF: compared with llama.cpp's own sampler --------------------------------------------------------------------


class Native:
    """llama.cpp's grammar, called as its own sampler would call it."""

    def __init__(self, model: Gguf, text: str) -> None:
        self._vocabulary = model._vocabulary
        self._sampler = lib.llama_sampler_init_grammar(self._vocabulary._vocab, text.encode(), b"root")
        assert self._sampler, f"llama.cpp cannot read {text}"

    def allowed(self) -> set[int]:
        size = self._vocabulary.size
        candidates = (lib.llama_token_data * size)(*[(token, 0.0, 0.0) for token in range(size)])
        array = lib.llama_token_data_array(candidates, size, -1, False)
        lib.llama_sampler_apply(self._sampler, ctypes.byref(array))
        return {candidates[at].id for at in range(array.size) if candidates[at].logit == 0.0}

    def take(self, token: int) -> None:
        lib.llama_sampler_accept(self._sampler, token)


NO_TEXT = {bytes([byte]) for byte in (0x00, 0xC0, 0xC1, *range(0xF5, 0x100))} | {b"", b"<think>", b"</think>"}
"""NUL, which llama.cpp never allows; bytes that begin no character, and control tokens, which it takes for text."""


def a_grammar(draw: random.Random) -> str:
    """Four rules over a few characters; each refers only to later ones or, after a character, to itself: none is empty."""

    def item(rule: int, depth: int) -> str:
        kinds = ['"a"', '"ab"', "[ab]", "[^a]", '"\\u00e9"', "[x-z]"]
        if rule < 3:
            kinds.append(f"r{draw.randint(rule + 1, 3)}")
        if depth < 2:
            kinds.append(f"({alternatives(rule, depth + 1)})")
        return draw.choice(kinds)

    def sequence(rule: int, depth: int) -> str:
        more = [
            item(rule, depth) + draw.choice(["", "?", "*", "+", "{2}", "{1,3}", "{2,}"])
            for _ in range(draw.randint(0, 2))
        ]
        return " ".join([item(rule, depth), *more])

    def alternatives(rule: int, depth: int) -> str:
        return " | ".join(sequence(rule, depth) for _ in range(draw.randint(1, 3)))

    rules = [f'r{rule} ::= {alternatives(rule, 0)} | "{draw.choice("bx")}" r{rule}' for rule in range(4)]
    return "root ::= r0?\n" + "\n".join(rules)


@pytest.mark.parametrize("seed", range(40))
def test_grammar_allows_the_same_tokens_as_llama_cpp(base: Gguf, seed: int) -> None:
    draw = random.Random(seed)
    text = a_grammar(draw)
    ours, native = Grammar(base._vocabulary.words, None, text), Native(base, text)
    piece = base._vocabulary.piece
    for _ in range(12):
        mine, theirs = {int(token) for token in np.flatnonzero(ours.allowed())}, native.allowed()
        assert {piece(token) for token in mine} - NO_TEXT == {piece(token) for token in theirs} - NO_TEXT, text
        assert (EOS in mine) == (EOS in theirs), text
        if not mine - {EOS}:
            return
        # of the multi-byte characters only the two-byte ones: llama.cpp accepts some invalid UTF-8
        token = draw.choice([token for token in sorted(mine & theirs - {EOS}) if piece(token) < b"\xc4"])
        assert ours.take(token)
        native.take(token)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('root ::= "a', "not closed"), ("root = 1", "'::='"), ('root ::= "a" b', "'b' is not defined"),
        ('a ::= "b"', "'root' is not defined"),
        ("root ::= [z-a]", "empty"), ('root ::= "\\q"', "no escape"), ('root ::= ("a"', "')'"), ('root ::= "a"{3,1}', "{3,1}"),
        ('root ::= "a"{99999}', "2000"), ('root ::= (("a"{999}){999}){999}', "multiply"), ("root ::= " + "(" * 99, "60 deep"),
        ('root ::= "a" root', "no text"), ("root ::= root", "no text"), ("", "root"), ('root ::= "a"\nroot ::= "b"', "twice"),
        ("root ::= <think>", "tokens"), ("root ::= )", "end of the rule"), ("root ::= []", "[] is empty"),
    ],
)  # fmt: skip
def test_invalid_grammar_is_refused_with_the_position(text: str, words: str) -> None:
    with pytest.raises(Refusal) as refused:
        Grammar(of_bytes(), None, text)
    assert refused.value.code == "usage"
    assert words in refused.value.message


def test_comments_line_breaks_and_escapes_are_parsed() -> None:
    text = 'root ::= ( # of two\n  "\\u00e9\\n" |\n  other )+\nother ::= [\\x41\\]-]\n  | .{2}\n'
    assert follows("é\nA]-", grammar=text) == (6, True)
    assert shortest_text(gbnf.parse(text)) in {"A", "a"}


@pytest.mark.parametrize(
    ("text", "answer"),
    [('root ::= "yes" | "no"', "no"), ('root ::= [0-9]+ "x"{3}', "0xxx"),
     ('root ::= a | b\na ::= "xx" a | "yyyy"\nb ::= a a', "yyyy"),
     ('root ::= "a"*', "")],
)  # fmt: skip
def test_echo_answers_with_the_shortest_text_of_a_grammar(text: str, answer: str) -> None:
    assert an_echo().ask("hello", grammar=text).text == answer


# ---- schemas --------------------------------------------------------------------------------------------------------

KEPT = [
    PERSON,
    {"$defs": {"leaf": {"enum": ["x", 1, None]}}, "type": "array", "items": {"$ref": "#/$defs/leaf"}, "minItems": 2},
    {"type": "object", "properties": {"next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}}, "required": ["next"]},
    {"const": {"a": [1, "b"]}},
    {"type": ["integer", "null"], "minimum": 5},
    {"type": "string", "pattern": "^[A-F][0-9]{2,3}(-x)?$"},
    {"type": "string", "minLength": 3, "maxLength": 5},
    {"type": "number", "exclusiveMinimum": 1, "maximum": 2.5},
    {"type": "integer", "multipleOf": 7, "minimum": 10, "maximum": 60},
    {"type": "object", "allOf": [{"properties": {"a": {"type": "boolean"}}, "required": ["a"]},
                                 {"properties": {"b": {"const": 2}}, "required": ["b"]}]},
    {"type": "array", "prefixItems": [{"type": "string"}, {"type": "boolean"}], "minItems": 2, "items": False},
    {"type": "object", "additionalProperties": {"type": "integer"}},
    {"type": "string", "format": "date"},
    {"type": "string", "format": "uuid"},
]  # fmt: skip


@pytest.mark.parametrize("schema", KEPT, ids=json.dumps)
@pytest.mark.parametrize(
    "options", [{"temperature": 0.0}, {"temperature": 1.5, "seed": 3, "top_k": 0, "repeat_penalty": 1.3}], ids=str
)
def test_finished_answer_satisfies_the_schema(base: Gguf, schema: Any, options: dict[str, Any]) -> None:
    """Checked by a validator that shares no code with the grammar."""
    ends = {'"': 6.0, "}": 3.0, "]": 3.0, str(EOS): 20.0}  # so that strings, lists and numbers come to an end
    reply = Driver(base).ask("hello", schema=json.dumps(schema), max_tokens=300, logit_bias=ends, **options)
    assert reply.done.reason == "stop", reply.text
    jsonschema_rs.validate(schema, json.loads(reply.text), offline=True)


@pytest.mark.parametrize("schema", KEPT, ids=json.dumps)
def test_echo_answers_a_schema_with_its_smallest_value(schema: Any) -> None:
    reply = an_echo().ask("hello", schema=json.dumps(schema), max_tokens=99)
    jsonschema_rs.validate(schema, json.loads(reply.text), offline=True)
    assert follows(reply.text, schema) == (len(reply.text), True)


def an_echo() -> Driver:
    from llmctld.engine.echo import Echo

    return Driver(Echo(echo()))


def test_smallest_value_of_example_schemas() -> None:
    assert smallest(of_bytes(), json.dumps(PERSON), None) == '{"name":"","age":3}'
    assert smallest(of_bytes(), '{"anyOf":[{"const":"long"},{"type":"null"},{"type":"integer"}]}', None) == "0"


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ({"not": {"type": "string"}}, '"not"'), ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"if": {}, "then": {}}, '"if"'), ({"type": "integr"}, "integr"), ({"enum": []}, "Unsatisfiable"),
        ({"$ref": "#"}, "no text"),
        ({"$ref": "https://example.com/x.json"}, "https://example.com/x.json"), ({"$ref": "file:///etc/hostname"}, "file:///etc"),
        ({"$ref": "#/$defs/none"}, "/$defs/none"), ({"type": "string", "pattern": "^(a$"}, "unclosed"),
        ({"type": "integer", "minimum": 5, "maximum": 3}, "minimum (5)"), ({"type": "string", "format": "colour"}, "colour"),
        ({"type": "array", "uniqueItems": True, "x-guidance": {"lenient": True}}, "uniqueItems"),
    ],
    ids=str,
)  # fmt: skip
def test_unsupported_schema_is_refused_and_other_requests_continue(base: Gguf, schema: Any, words: str) -> None:
    driver = Driver(base)
    good, bad = driver.submit("hello"), driver.submit("hello", schema=json.dumps(schema))
    driver.run()
    assert driver.replies[bad].refusal.code == "usage"
    assert words in driver.replies[bad].refusal.message
    assert driver.replies[bad].refusal.hint
    assert driver.replies[good].done.completion_tokens > 0


def test_white_space_in_json_is_limited(base: Gguf) -> None:
    blanks = {str(token): 100.0 for token in range(base._vocabulary.size) if base.piece(token) in {b" ", b"\n"}}
    reply = Driver(base).ask(
        "hello", schema='{"type":"array","maxItems":2,"items":{"type":"boolean"}}', logit_bias=blanks, max_tokens=400
    )
    assert reply.done.reason == "stop"
    assert isinstance(json.loads(reply.text), list)
    assert follows('{ "a', PERSON)[0] == 3
    assert follows("{  ", PERSON)[0] == 2, "a second blank is not allowed"
    assert follows("{\n" + " " * 17, PERSON)[0] == 18, "at most sixteen blanks are allowed after a line end"


# ---- tokens ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"ignore_eos": True}, {"logit_bias": {str(EOS): -100.0}}, {"logit_bias": {"q": 100.0, str(EOS): 100.0}},
        {"temperature": 2.0, "seed": 1, "top_k": 1}, {"temperature": 1.0, "seed": 1, "top_p": 0.01, "min_p": 1.0},
        {"presence_penalty": 2.0, "frequency_penalty": 2.0, "repeat_penalty": 2.0},
    ],
    ids=str,
)  # fmt: skip
def test_every_sampling_option_works_with_a_grammar(base: Gguf, options: dict[str, Any]) -> None:
    reply = Driver(base).ask("hello", grammar='root ::= "no" | "never"', **options)
    assert reply.text in {"no", "never"}
    assert reply.done.reason == "stop"


def test_answer_ends_when_no_token_is_allowed(base: Gguf) -> None:
    """All tokens that the grammar allows are banned: none is invented, and the process survives."""
    banned = {str(token): -100.0 for token in range(EOS)}
    assert Driver(base).ask("hello", grammar='root ::= "ab"', logit_bias=banned).text == "ab", "-100 is not a ban"
    held = Grammar(base._vocabulary.words, None, 'root ::= "ab"')
    assert not held.take(EOS)
    assert not held.allowed().any()
    assert Driver(base).ask("hello", grammar='root ::= ""', ignore_eos=True).done.reason == "stop"


def test_requests_with_and_without_a_grammar_share_a_batch(base: Gguf) -> None:
    alone = [Driver(base).ask("hello", max_tokens=12).text, Driver(base).ask("why?", grammar="root ::= [a-e]{9}").text]
    driver = Driver(base)
    free, held = driver.submit("hello", max_tokens=12), driver.submit("why?", grammar="root ::= [a-e]{9}")
    driver.run()
    assert [driver.replies[free].text, driver.replies[held].text] == alone
