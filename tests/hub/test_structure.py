"""Trial compilation of schemas and grammars, and validation of the finished answer."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import psutil
import pytest
from llmctld.pipeline.compute.structure import structure
from llmctld.pipeline.compute.trial import MOST_BYTES, REMEMBERED, Trial

from llmctl import wire
from llmctl.errors import Incomplete, Usage
from tests.hub.scene import Speaker, a_call, answer_of, in_loop

AGE = '{"type":"object","properties":{"age":{"type":"integer"}},"required":["age"],"additionalProperties":false}'


@asynccontextmanager
async def a_trial() -> AsyncIterator[Trial]:
    trial = Trial()
    try:
        yield trial
    finally:
        await trial.close()


def child_of(trial: Trial) -> psutil.Process:
    assert trial._child is not None
    return psutil.Process(trial._child.pid)


@in_loop
async def test_a_complete_answer_has_its_parsed_value() -> None:
    async with a_trial() as trial:
        answer = await answer_of(structure(trial)(Speaker('{"age"', ": 7}")), a_call(schema=AGE))
        assert (answer.text, answer.value) == ('{"age": 7}', {"age": 7})
        assert (await answer_of(structure(trial)(Speaker("yes")), a_call(grammar='root ::= "yes"'))).value is None


@in_loop
async def test_a_long_integer_keeps_all_digits() -> None:
    async with a_trial() as trial:
        answer = await answer_of(structure(trial)(Speaker('{"age":' + "9" * 400 + "}")), a_call(schema=AGE))
        reply = wire.decode_reply(wire.encode(wire.Done(result=answer)))
        assert isinstance(reply, wire.Done)
        assert isinstance(reply.result, wire.Answer)
        assert reply.result.value == {"age": 10**400 - 1}
        answer = await answer_of(structure(trial)(Speaker('{"age":-999999999999999999999}')), a_call(schema=AGE))
        assert answer.value == {"age": 1 - 10**21}
        with pytest.raises(Incomplete):
            await answer_of(structure(trial)(Speaker('{"age":' + "9" * 5000 + "}")), a_call(schema=AGE))


@pytest.mark.parametrize(
    ("fields", "text", "reason", "words"),
    [
        ({"schema": AGE}, '{"age": 7', "length", "was cut"),
        ({"schema": AGE}, '{"age": "x"}', "stop", "age: "),
        ({"schema": AGE}, '{"age": 7} and', "stop", "not JSON"),
        ({"schema": AGE}, "[" * 5000, "stop", "not JSON"),
        ({"grammar": 'root ::= "yes"'}, "ye", "stop", "does not match the grammar"),
        ({"grammar": 'root ::= "yes"'}, "yesno", "stop", "does not match the grammar"),
    ],
)
@in_loop
async def test_an_answer_that_violates_the_schema_is_incomplete(
    fields: dict[str, Any], text: str, reason: str, words: str
) -> None:
    async with a_trial() as trial:
        with pytest.raises(Incomplete, match=words) as error:
            await answer_of(structure(trial)(Speaker(text, reason=reason)), a_call(**fields))
        assert error.value.answer is not None
        assert error.value.answer.text == text


@in_loop
async def test_an_answer_completed_by_its_last_token_is_valid() -> None:
    async with a_trial() as trial:
        answer = await answer_of(structure(trial)(Speaker('{"age":7}', reason="length")), a_call(schema=AGE))
        assert answer.value == {"age": 7}


EVIL: dict[str, Callable[[], Any]] = {
    "hours of compiling": lambda: {"type": "integer", "multipleOf": 999983},
    "the same by a detour": lambda: {"type": "integer", "allOf": [{"multipleOf": 991}, {"multipleOf": 997}]},
    "too deep": lambda: json.loads('{"items":' * 70 + "{}" + "}" * 70),
    "much too deep": lambda: '{"items":' * 6000 + "{}" + "}" * 6000,
    "too large": lambda: {"enum": ["x" * MOST_BYTES]},
    "exponential": lambda: {"allOf": [{"anyOf": [{"properties": {f"{a}{i}": {"const": i}}} for a in "ab"]} for i in range(30)]},
    "thousands of optional members": lambda: {"properties": {f"p{i}": {} for i in range(4500)}},
}  # fmt: skip


@pytest.mark.parametrize("kind", EVIL)
@in_loop
async def test_a_schema_that_exhausts_resources_is_refused_and_the_next_one_works(kind: str) -> None:
    evil = EVIL[kind]()
    speaker = Speaker("never")
    async with a_trial() as trial:
        with pytest.raises(Usage) as error:
            await answer_of(
                structure(trial)(speaker), a_call(schema=evil if isinstance(evil, str) else json.dumps(evil))
            )
        assert error.value.hint
        assert speaker.calls == [], "nothing was computed"
        assert (await answer_of(structure(trial)(Speaker('{"age":7}')), a_call(schema=AGE))).value == {"age": 7}


@in_loop
async def test_compiled_schemas_are_remembered_up_to_a_limit() -> None:
    async with a_trial() as trial:
        await trial.compile(AGE, None)
        child_of(trial).kill()
        await trial.compile(AGE, None)
        for number in range(REMEMBERED):
            await trial.compile(f'{{"const":{number}}}', None)
        assert len(trial._good) == REMEMBERED
        assert (AGE, None) not in trial._good


@in_loop
async def test_a_killed_trial_process_is_replaced() -> None:
    async with a_trial() as trial:
        await trial.compile(AGE, None)
        child_of(trial).kill()
        assert await trial.flaw(AGE, None, '{"age":7}') == ""
        child_of(trial).kill()
        assert "age" in await trial.flaw(AGE, None, '{"age":"x"}')


@in_loop
async def test_the_trial_process_ends_with_the_trial() -> None:
    async with a_trial() as trial:
        await trial.compile(AGE, None)
        child = child_of(trial)
    assert not child.is_running()
