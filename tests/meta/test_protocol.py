"""The messages: each has a handler, an example that survives the round trip, and an entry in PROTOCOL.md that says the same."""

import inspect
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from llmctld.engine.messages import Submit
from llmctld.handlers.table import HANDLERS

from llmctl import wire
from llmctl.options import Options
from llmctl.templates import Template
from tests.messages import EXAMPLES, RESULT_EXAMPLES
from tests.meta import protocol

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = (ROOT / "daemon" / "PROTOCOL.md").read_text(encoding="utf-8")
REQUESTS: tuple[type[wire.Request], ...] = get_args(wire.AnyRequest)
RESULTS: tuple[type[wire.Result], ...] = get_args(wire.AnyResult)
REPLIES: tuple[type[wire.Reply], ...] = get_args(wire.AnyReply)


def test_every_request_has_a_handler_except_those_of_the_server() -> None:
    assert set(HANDLERS) == set(REQUESTS) - {wire.Cancel, wire.Ack}


def test_every_message_has_an_example() -> None:
    assert {type(example) for example in EXAMPLES} == {*REQUESTS, *REPLIES}
    assert {type(example) for example in RESULT_EXAMPLES} == set(RESULTS)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: type(example).__name__)
def test_a_message_survives_the_round_trip(example: wire.Message) -> None:
    decode: Any = wire.decode_request if isinstance(example, wire.Request) else wire.decode_reply
    assert decode(wire.encode(example)) == example


@pytest.mark.parametrize("example", RESULT_EXAMPLES, ids=lambda example: type(example).__name__)
def test_a_result_survives_the_round_trip(example: wire.AnyResult) -> None:
    assert wire.decode_reply(wire.encode(wire.Done(result=example))) == wire.Done(result=example)


@pytest.mark.parametrize("kind", [*REQUESTS, *REPLIES], ids=lambda kind: kind.__name__)
def test_an_unknown_field_is_ignored(kind: type[wire.Message]) -> None:
    """So that a field may be added without a new protocol number."""
    example = next(example for example in EXAMPLES if type(example) is kind)
    body = msgspec.msgpack.encode(msgspec.to_builtins(example) | {"of_a_later_version": 1})
    decode: Any = wire.decode_request if isinstance(example, wire.Request) else wire.decode_reply
    assert decode(body) == example


def test_protocol_md_is_generated_from_the_messages() -> None:
    assert protocol.text(PROTOCOL) == PROTOCOL


STRUCTS = {
    name
    for name in wire.__all__
    if isinstance(getattr(wire, name), type) and issubclass(getattr(wire, name), msgspec.Struct)
} - {"Message", "Request", "Plain", "Reply", "Result", "Sampling"}


def test_protocol_md_describes_every_struct_once() -> None:
    assert sorted(re.findall(r"^### (\w+)", PROTOCOL, flags=re.M)) == sorted(STRUCTS)


@pytest.mark.parametrize("name", sorted(STRUCTS))
def test_a_section_of_protocol_md_has_a_row_for_each_sent_field(name: str) -> None:
    """Compared with msgspec's view of the struct, not with the sources that the page is generated from."""
    kind = getattr(wire, name)
    section = re.split(rf"^### {name}(?: \(`\w+`\))?$", PROTOCOL, flags=re.M)[1].split("\n### ")[0].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \| `[^`]+` \| (?:`([^`]+)`|required) \|", section, flags=re.M))
    sent = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    if issubclass(kind, wire.Request):
        del sent["protocol"]
    assert set(rows) == set(sent)
    for field, default in rows.items():
        assert sent[field].required == (default == "")


@pytest.mark.parametrize("kind", [wire.Generate, Options, Template, Submit], ids=lambda kind: kind.__name__)
def test_the_sampling_fields_are_documented_once(kind: type[wire.Sampling]) -> None:
    assert issubclass(kind, wire.Sampling)
    again = {name for base in kind.__mro__ if base is not wire.Sampling for name in inspect.get_annotations(base)}
    narrowed = {Submit: {"max_tokens"}, Options: {"stop"}, Template: {"stop"}}.get(kind, set())
    assert again & {*wire.Sampling.__struct_fields__} == narrowed


def test_request_types_have_the_expected_server_facts() -> None:
    """All facts that the server reads from a message type, in one place."""
    work, any_protocol, ends_background, delays_background = (
        {kind for kind in REQUESTS if getattr(kind, fact)} for fact in (*protocol.FACTS, "delays_background")
    )
    assert work == {wire.Generate, wire.Embed, wire.Warm, wire.PullModel}
    assert delays_background == work - {wire.PullModel}, "a pull may take an hour, and takes no model"
    assert any_protocol == {wire.Status, wire.Stop, wire.Cancel, wire.Ack}
    assert ends_background == {wire.RemoveModel, wire.LoadModel, wire.PinModel, wire.UnloadModel}


def test_protocol_md_states_the_constants_of_the_code() -> None:
    assert f"Protocol number: **{wire.PROTOCOL}**" in PROTOCOL
    assert f"[request id: {wire.ID_BYTES} bytes]" in PROTOCOL
    assert f"{wire.MAX_BODY_BYTES:,} bytes" in PROTOCOL
    assert f"Deltas that may be unread: {wire.WINDOW}" in PROTOCOL
    assert f"after every {wire.WINDOW // 2} deltas" in PROTOCOL
    assert f"every {wire.HEARTBEAT_S:g} s" in PROTOCOL
