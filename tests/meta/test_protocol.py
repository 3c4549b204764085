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
from tests.meta import protocol

ROOT = Path(__file__).resolve().parents[2]
PROTOCOL = (ROOT / "daemon" / "PROTOCOL.md").read_text(encoding="utf-8")
REQUESTS: tuple[type[wire.Request], ...] = get_args(wire.AnyRequest)
RESULTS: tuple[type[wire.Result], ...] = get_args(wire.AnyResult)
REPLIES: tuple[type[wire.Reply], ...] = get_args(wire.AnyReply)

ANSWER = wire.Answer(
    id="0" * 32, model="m", text="because\N{SNOWMAN}", reasoning="hm", conversation="trip", user="ana",
    usage=wire.TokenUsage(3, 1, 2), timings=wire.Timings(total_ms=1.5), cache=wire.CacheUse(hit="disk", key="k", age_s=2.0),
    value={"a": [1]}, logprobs=[wire.Sampled("b", -0.5, [wire.Likely("c", -0.25)])],
    explain=[wire.Explained("semantic", "why so?", 0.93, "negation")],
)  # fmt: skip
CALL = wire.ToolCall("c", wire.FunctionCall("f", "{}"))
ENTRY = wire.CacheEntry(1, "k", "m", "ana", ["a"], "trip", 1.0, 2.0, 3, 0.5, 4, None, "why?")
EXAMPLES: list[wire.Message] = [
    wire.Generate(
        prompt="why?", stdin="text", files=[wire.File("a.txt", "b")], params={"a": "b"}, declared={"a": None}, tokens=[1],
        system="s", raw=True, model="m", user="ana", tags=["t"], conversation="c", continue_last=True, max_tokens=1,
        temperature=0.0, top_p=0.5, top_k=1, min_p=0.1, repeat_penalty=1.1, presence_penalty=0.1, frequency_penalty=0.2,
        logit_bias={"5": -1.0}, seed=7, stop=["x"], ignore_eos=True, extract="last", cache="only", max_age=1.0, timeout=2.0,
        priority="batch", adapters={"a": 0.5}, repro=True, stream=True, protocol=wire.PROTOCOL,
        schema="{}", grammar="root ::= [a-z]", logprobs=2, n=3, think="on", semantic=True, explain=True,
        messages=[wire.ChatMessage("user", "why?", "ana"), wire.ChatMessage("assistant", "", None, "hm", [CALL]),
                  wire.ChatMessage("tool", "5", tool_call_id="c")],
        tools=[{"type": "function"}], tool_choice="auto",
    ),
    wire.Embed(texts=["a"], model="m", prompt="query", user="ana"),
    wire.Cancel(), wire.Ack(count=3), wire.Status(), wire.Ps(), wire.Stop(timeout=0.5),
    wire.AddModel(name="m", target="/m.gguf", aliases=["a"], settings={"slots": "2"}, force=True,
                  origin="ollama:m"),
    wire.PullModel(repo="o/n", file="f.gguf", name="m", aliases=["a"], settings={"slots": "2"}, force=True, endpoint="http://h",
                   token="t"),
    wire.EstimateModel(target="m", settings={"slots": "2"}), wire.DescribeFiles(paths=["/m.gguf"]),
    wire.RemoveModel(name="m"), wire.LoadModel(name="m", replicas=2), wire.PinModel(name="m"),
    wire.SetModel(name="m", settings={"slots": "2"}, unset=["context"], aliases=["a"], dropped=["b"]),
    wire.UnloadModel(name="m"), wire.GetCacheStats(),
    wire.ListCache(model="m", user="ana", tags=["a"], older=1.0, newer=2.0, after=3, limit=4), wire.ShowCache(key="k"),
    wire.ClearCache(model="m", user="ana", tags=["a"], older=1.0, newer=2.0),
    wire.Warm(request=wire.Generate(prompt="why?"), text="because"),
    wire.AuditCache(), wire.UndoHit(id="i", user="ana"),
    wire.Undo(conversation="c", user="ana"),
    wire.Delta(text="t", reasoning="r", index=1), wire.Notice(text="n"), wire.Progress(state="pulling", done=1, total=2),
    wire.Done(result=ANSWER), wire.Failed(code="busy", message="m", hint="h", answer=ANSWER, answers=[ANSWER], retry=True),
    wire.Cancelled(answer=ANSWER, answers=[ANSWER]),
]  # fmt: skip
RESULT_EXAMPLES: list[wire.AnyResult] = [
    ANSWER, wire.Answers(answers=[ANSWER]),
    wire.Embeddings(model="m", dimension=1, vectors=b"\0\0\0\0", tokens=3, flaws=[wire.Flaw(0, "busy", "m", "h")]),
    wire.HubStatus(state="running", pid=1, version="1", protocol=1, uptime_s=1.0, socket="/s", models=["m"],
                   requests_in_flight=0),
    wire.Engines(engines=[wire.EngineStatus("m", "echo", 1, "ready", 0, 1, 1, 1, 0, 2.5)]),
    wire.Stopped(cancelled=["a"]),
    wire.CacheStats(levels=[wire.LevelStats("memory", p50_ms=0.1)], requests=1, hit_rate=0.5, joined=1),
    wire.CacheEntries(entries=[ENTRY]),
    wire.CacheShown(entry=ENTRY, levels=[wire.LevelShown("disk", 5, 6.0)], text="t", reasoning=None, finish_reason="stop",
                    usage=wire.TokenUsage(1, 0, 2), samples=["u"], more={"lifetime": {"kind": "fact"}}),
    wire.Cleared(entries=1), wire.Warmed(key="k", model="m", outcome="generated", seconds=0.5), wire.Undone(prompt="p"),
    wire.CacheAudit(semantic=wire.SemanticAudit(requests=9, hits=3, hit_rate=0.3333, wrong_rate=0.0, wrong_rate_upper=0.01,
                                                max_error=0.005, pairs=7, judge="none", explored=1, verified=2, judged=3,
                                                undone=1)),
    wire.HitUndone(id="i", key="k", question="q", served=[wire.ServedTo("i", "ana", 1.5, "p")]),
    wire.Model(name="m", target="echo", backend="echo", aliases=[], settings={"slots": 1}), wire.Nothing(),
    wire.Estimated(weights_bytes=1, kv_bytes=2, compute_bytes=3, total_bytes=6, measured_bytes=5),
    wire.FilesDescribed(files=[wire.FileContent("/m.gguf", kind="text", backend="llama.cpp", architecture="llama",
                                           quantization="Q4_K_M", context=5, size_bytes=6, total_bytes=7, fits=True),
                          wire.FileContent("/n.gguf", "damaged", "/n.gguf is incomplete")]),
]  # fmt: skip


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
