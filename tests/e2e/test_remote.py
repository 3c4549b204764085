"""Remote models: requests sent to an endpoint, handling of its answers, and each way in which it can fail.

The endpoint is a real server that does what a test tells it (tests/faulty_server.py); a server of others is in
test_remote_real.py.
"""

import base64
import gzip
import itertools
import json
import signal
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from tests import faulty_server
from tests.e2e.house import House, until
from tests.e2e.house import house as a_house
from tests.e2e.test_bad_input import refused
from tests.faulty_server import Server, answer, cut, drip, embed, hold, plain, raw, refusing, server, status, vector_of

SECRET = "sk-not-to-be-seen-4711"
NAMES = itertools.count(1)


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    """A house whose hub has a key; each test has an endpoint, and a model, of its own."""
    with a_house(THE_KEY=SECRET) as made:
        yield made


@pytest.fixture
def endpoint() -> Iterator[Server]:
    with server() as made:
        yield made


def added(home: House, endpoint: Server, *flags: str) -> str:
    """The name of a model of this endpoint."""
    name = f"remote{next(NAMES)}"
    home.ok("models", "add", name, endpoint.url, *flags)
    return name


def schema_of(body: dict[str, Any]) -> Any:
    return body["response_format"]["json_schema"]["schema"]


# ---- requests and answers -------------------------------------------------------------------------------------------


def test_an_answer_is_streamed_with_the_usage_and_reason_of_the_endpoint(home: House, endpoint: Server) -> None:
    name = added(home, endpoint)
    endpoint.script = [answer("hel", "lo", reason="length")]
    outcome = home.ok("ask", "why?", "-m", name, "-s", "Be brief.", "--json")
    assert outcome.pieces == outcome.last["text"] == "hello"
    assert outcome.last["finish_reason"] == "length"
    assert outcome.last["usage"] == {"prompt_tokens": 5, "cached_tokens": 2, "completion_tokens": 3}
    (asked,) = endpoint.asked
    assert asked.target == "/v1/chat/completions"
    assert "authorization" not in asked.headers
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "why?"}]
    assert asked.body == {
        "model": "tiny", "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 2048, "messages": messages,
    }, "unset options are not sent"  # fmt: skip


def test_an_unknown_finish_reason_of_the_endpoint_is_passed_on(home: House, endpoint: Server) -> None:
    name = added(home, endpoint)
    endpoint.usual = answer("x", reason="its own")
    assert home.ok("ask", "why?", "-m", name, "--json").last["finish_reason"] == "its own"
    home.ok("ask", "why?", "-m", name)
    assert len(endpoint.asked) == 2, "and such an answer is not stored"


def test_every_sampling_flag_reaches_the_endpoint(home: House, endpoint: Server) -> None:
    name = added(home, endpoint, "--set", "min_p=0.1")
    flags = ("--temperature=0.5", "--top-p=0.8", "--top-k=7", "--repeat-penalty=1.1", "--presence-penalty=0.2",
             "--frequency-penalty=0.3", "--logit-bias=42=-1", "--seed=9", "--stop=END", "--max-tokens=33")  # fmt: skip
    home.ok("ask", "why?", "-m", name, *flags)
    expected = {
        "temperature": 0.5, "top_p": 0.8, "top_k": 7, "min_p": 0.1, "repeat_penalty": 1.1, "repetition_penalty": 1.1,
        "presence_penalty": 0.2, "frequency_penalty": 0.3, "logit_bias": {"42": -1.0}, "seed": 9, "stop": ["END"],
        "max_tokens": 33,
    }  # fmt: skip
    (asked,) = endpoint.asked
    assert {key: asked.body.get(key) for key in expected} == expected


def test_raw_text_and_tokens_use_the_completions_path(home: House, endpoint: Server) -> None:
    name = added(home, endpoint)
    assert home.ok("ask", "Once", "-m", name, "--raw", "--logprobs", "2").out == "hello there!\n"
    script = f"from llmctl import Client\nwith Client() as c: print(c.ask(tokens=[1, 22, 3], model={name!r}).text)"
    assert home.python(script).end().out == "hello there!\n"
    assert [asked.target for asked in endpoint.asked] == ["/v1/completions"] * 2
    assert [asked.body["prompt"] for asked in endpoint.asked] == ["Once", [1, 22, 3]]
    assert endpoint.asked[0].body["logprobs"] == 2


def test_log_probabilities_are_read_and_their_absence_is_reported(home: House, endpoint: Server) -> None:
    name = added(home, endpoint)
    scored = {
        "token": "a",
        "logprob": -0.5,
        "top_logprobs": [{"token": "a", "logprob": -0.5}, {"token": "b", "logprob": -1.0}],
    }
    event = {"choices": [{"delta": {"content": "a"}, "finish_reason": "stop", "logprobs": {"content": [scored]}}]}
    endpoint.script = [plain(f"data: {json.dumps(event)}\n\ndata: [DONE]\n\n")]
    (found,) = home.ok("ask", "why?", "-m", name, "--logprobs", "2", "--json").last["logprobs"]
    assert (found["token"], found["logprob"], [top["token"] for top in found["top"]]) == ("a", -0.5, ["a", "b"])
    assert endpoint.asked[0].body["top_logprobs"] == 2
    assert "reports no log-probabilities" in home.ok("ask", "how?", "-m", name, "--logprobs", "2").err


def test_reasoning_in_either_form_is_separated_from_the_answer(home: House, endpoint: Server) -> None:
    name = added(home, endpoint)
    endpoint.script = [answer("42", thought=["6 times ", "7"]), answer("<thi", "nk>6 times 7</think>\n", "42")]
    for question in ("why?", "how?"):
        line = home.ok("ask", question, "-m", name, "--json").last
        assert (line["reasoning"], line["text"]) == ("6 times 7", "42")


def test_a_schema_is_sent_and_the_answer_validated_against_it(home: House, endpoint: Server) -> None:
    name = added(home, endpoint)
    endpoint.script = [answer('{"name": ', '"Ana", "age": 7}'), answer('{"name": 3}')]
    assert home.ok("ask", "who?", "-m", name, "--schema", "name, age int", "--json").last["value"] == {
        "name": "Ana",
        "age": 7,
    }
    assert set(schema_of(endpoint.asked[0].body)["properties"]) == {"name", "age"}
    assert home.run("ask", "whom?", "-m", name, "--schema", "name, age int").status == 8


def test_an_older_server_gets_a_schema_in_its_own_form(home: House, endpoint: Server) -> None:
    name = added(home, endpoint)
    endpoint.script = [
        status(
            422, "[{'loc': ('body', 'response_format', 'type'), 'msg': \"Input should be 'text' or 'json_object'\"}]"
        )
    ]
    endpoint.usual = answer('{"a": "x"}')
    home.ok("ask", "who?", "-m", name, "--schema", "a")
    home.ok("ask", "whom?", "-m", name, "--schema", "a")
    first, *others = [asked.body["response_format"] for asked in endpoint.asked]
    assert first["type"] == "json_schema"
    assert [(form["type"], set(form["schema"]["properties"])) for form in others] == [("json_object", {"a"})] * 2


def test_a_grammar_is_sent_only_to_an_endpoint_configured_to_take_one(home: House, endpoint: Server) -> None:
    (home.home / "yes.gbnf").write_text('root ::= "hello there!"')
    refused(home.run("ask", "why?", "-m", added(home, endpoint), "--grammar", "yes.gbnf"), 5, "takes_grammar=true")
    assert endpoint.asked == []
    home.ok("ask", "why?", "-m", added(home, endpoint, "--set", "takes_grammar=true"), "--grammar", "yes.gbnf")
    assert endpoint.asked[0].body["grammar"] == 'root ::= "hello there!"'


@pytest.mark.parametrize(
    ("flags", "words"), [(["--repro"], "repro"), (["--adapter", "a"], "adapter"), (["--logit-bias", "yes=1"], "'yes'")]
)
def test_options_that_no_endpoint_supports_are_refused(
    home: House, endpoint: Server, flags: list[str], words: str
) -> None:
    refused(home.run("ask", "why?", "-m", added(home, endpoint), *flags), 5, words)
    assert endpoint.asked == []


def test_each_sample_is_a_request_with_its_own_seed(home: House, endpoint: Server) -> None:
    outcome = home.ok("ask", "why?", "-m", added(home, endpoint), "-n", "3", "--seed", "5")
    assert outcome.out == "hello there!\n---\nhello there!\n---\nhello there!\n"
    assert sorted(asked.body["seed"] for asked in endpoint.asked) == [5, 6, 7]


def test_a_remote_answer_is_cached_for_the_remote_model_behind_the_name(home: House, endpoint: Server) -> None:
    name = added(home, endpoint, "--remote-model", "a")
    home.ok("ask", "why?", "-m", name)
    assert home.ok("ask", "why?", "-m", name, "--json").last["cache"]["hit"] == "memory"
    home.ok("models", "add", name, endpoint.url, "--remote-model", "b", "--force")
    assert home.ok("ask", "why?", "-m", name, "--json").last["cache"]["hit"] is None
    assert [asked.body["model"] for asked in endpoint.asked] == ["a", "b"]


def test_missing_usage_is_counted_by_stream_chunks(home: House, endpoint: Server) -> None:
    endpoint.usual = answer("a", "b", usage=None)
    usage = home.ok("ask", "why?", "-m", added(home, endpoint), "--json").last["usage"]
    assert usage == {"prompt_tokens": 0, "cached_tokens": 0, "completion_tokens": 2}


def test_an_answer_that_is_not_streamed_is_read_too(home: House, endpoint: Server) -> None:
    whole = {"choices": [{"message": {"content": "all at once"}, "finish_reason": "stop"}]}
    endpoint.usual = plain(json.dumps(whole), "application/json; charset=utf-8")
    assert home.ok("ask", "why?", "-m", added(home, endpoint)).out == "all at once\n"


def lines(*events: Any) -> str:
    """A stream of these; what is text already stands as it is."""
    return "".join(each if isinstance(each, str) else f"data: {json.dumps(each)}\n\n" for each in events)


def says(content: Any, reason: str | None = None) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": content}, "finish_reason": reason}]}


HE, LLO, END, DONE_ = says("he"), says("llo"), says("", "stop"), "data: [DONE]\n\n"
GOOD = lines(HE, LLO, END, DONE_).encode()
THINKS = says([{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}])
STREAM = "Content-Type: text/event-stream"
AS_THEY_ARE = {
    "null": plain(lines(HE, "data: null\n\n", LLO, END, DONE_)),
    "no choices": plain(lines({"choices": None}, HE, {}, LLO, END, DONE_)),
    "parts": plain(lines(THINKS, says([{"type": "text", "text": "he"}, {"type": "reference", "reference_ids": [1]}]), LLO, END)),
    "mark": plain("\ufeff" + lines(HE, LLO, END, DONE_)),
    "line ends": plain(lines(HE, LLO, END, DONE_).replace("\n", "\r")),
    "no empty lines": plain(lines(HE, LLO, END, DONE_).replace("\n\n", "\n")),
    "keepalives": plain(lines(": x\n\n", HE, "event: ping\ndata: {}\n\n", "data:\n\nretry: 9\n\n", LLO, END, DONE_)),
    "an answer of its own": plain(lines(HE, {"choices": [{"index": 1, "delta": {"content": "x"}}]}, LLO, END, DONE_)),
    "numbers": plain(lines(HE, LLO, END, {"choices": [], "usage": {"prompt_tokens": "4", "completion_tokens": 2.0}}, DONE_)),
    "lines of JSON": plain(lines(HE, LLO, END).replace("data: ", ""), "application/x-ndjson"),
    "a page": plain(lines(HE, LLO, END, DONE_), "text/html"),
    "a stream called JSON": plain(lines(HE, LLO, END, DONE_), "application/json"),
    "JSON called a stream": plain(json.dumps({"choices": [{"text": "hello", "finish_reason": "stop"}]}, indent=1)),
    "legacy": plain(lines({"choices": [{"text": "hel"}]}, {"choices": [{"text": "lo", "finish_reason": "eos"}]})),
    "halves": plain(lines(says("hello\ud83c"), says("\udf89", "stop"), DONE_)),
    "201": plain(lines(HE, LLO, END, DONE_), code=201),
    "byte by byte": raw(GOOD, STREAM, "Connection: close", size=1),
    "HTTP/1.0": raw(GOOD, STREAM, version="HTTP/1.0"),
    "gzip": raw(gzip.compress(GOOD), STREAM, "Content-Encoding: gzip", "Connection: close", size=7),
}  # fmt: skip


def test_stream_variants_of_real_servers_are_read_and_stored(home: House, endpoint: Server) -> None:
    name = added(home, endpoint, "--set", "retries=0")
    for what, behaviour in AS_THEY_ARE.items():
        endpoint.script = [behaviour]
        outcome = home.run("ask", what, "-m", name)
        assert (what, outcome.status, outcome.out) == (what, 0, "hello\n" if what != "halves" else "hello🎉\n"), outcome
        assert home.ok("ask", what, "-m", name, "--cache-only").out == outcome.out, "and it is stored"
    assert len(endpoint.asked) == len(AS_THEY_ARE)


FAILS = "the GPU fell off"
FAILURES = {
    "flat": plain(lines({"object": "error", "message": FAILS, "type": "X", "param": None}, DONE_)),
    "flat in the midst": plain(lines(HE, {"object": "error", "message": FAILS, "code": 500}, DONE_)),
    "named": plain(f"event: error\ndata: {json.dumps({'message': FAILS})}\n\n"),
    "named, in the midst": plain(lines(HE, f"event: error\ndata: {FAILS}\n\n", LLO, END, DONE_)),
    "a line": plain(lines(HE, f"error: {json.dumps({'message': FAILS})}\n\n")),
    "a choice's": plain(
        lines(HE, {"choices": [{"delta": {}, "finish_reason": "error", "error": {"message": FAILS}}]}, DONE_)
    ),
    "by a gateway": plain(lines(HE) + json.dumps({"error": {"message": FAILS}})),
    "all that came": plain(json.dumps({"error": {"message": FAILS}}), "application/json"),
    "a page": plain(f"<html><head><title>{FAILS}</title>", "text/html"),
    "plain words": plain(FAILS, "text/plain"),
}
HALF = b'data: {"choices":[{"delta":{"content":"\xc3'
"""The end of a connection in the midst of a character."""
UNSAID = {
    "finish_reason error": plain(lines(says("", "error"), DONE_)),
    "aborted its answer (finish_reason error)": plain(lines(HE, LLO, says("", "error"), DONE_)),
    "a stream without an answer": plain(DONE_),
    "sent a stream without": raw(HALF, STREAM, "Connection: close"),
    "without a finish_reason": raw(lines(says("caf")).encode() + HALF, STREAM, "Connection: close"),
    "closed the connection": raw(b"ab\r\ndata: {\xc3", STREAM, "Transfer-Encoding: chunked"),
}  # fmt: skip


def test_a_failure_within_a_stream_stores_nothing_and_adds_no_turn(home: House, endpoint: Server) -> None:
    """In the endpoint's words where it said any: nothing is stored, and nothing is in the conversation."""
    name = added(home, endpoint, "--set", "retries=0")
    told = list(UNSAID.items())
    for number, (words, behaviour) in enumerate([*((FAILS, each) for each in FAILURES.values()), *told]):
        question, talk = f"what is {number}?", f"failed-{name}-{number}"
        endpoint.usual = behaviour
        outcome = home.run("ask", question, "-m", name, "--conversation", talk)
        assert (number, outcome.status) == (number, 9), outcome
        assert words in outcome.err, outcome
        assert home.run("ask", question, "-m", name, "--cache-only").status == 13, "nothing is stored"
        endpoint.usual = answer("fine")
        home.ok("ask", f"and {number}?", "-m", name, "--conversation", talk)
        assert [each["content"] for each in endpoint.asked[-1].body["messages"]] == [f"and {number}?"]


def test_a_filtered_or_empty_answer_is_reported_and_not_stored(home: House, endpoint: Server) -> None:
    name = added(home, endpoint)
    for reason, text, words in (("content_filter", "he", "filter"), ("stop", "", "empty")):
        endpoint.usual = plain(lines(says(text), says("", reason), DONE_))
        outcome = home.ok("ask", reason, "-m", name)
        assert words in outcome.err
        assert outcome.out.strip() == text
        assert home.run("ask", reason, "-m", name, "--cache-only").status == 13


LISTS = {
    "a bare array": plain('[{"id": "x", "max_model_len": "4096"}]', "application/json"),
    "names": plain('["x"]', "application/json"),
    "null": plain('{"data": null}', "application/json"),
    "numbers": plain(
        '{"data": [{"id": 7, "context_length": "many"}, {"id": "x", "max_model_len": 4096.0}]}', "application/json"
    ),
    "hidden": status(403, "not yours"),
    "no such page": status(404, "no"),
    "broken": status(500, "no"),
    "a page": plain("<html>", "text/html"),
}


@pytest.mark.parametrize("what", LISTS)
def test_a_model_given_by_name_need_not_be_listed_by_the_endpoint(home: House, endpoint: Server, what: str) -> None:
    endpoint.for_models = LISTS[what]
    name = added(home, endpoint, "--remote-model", "x")
    home.ok("ask", "why?", "-m", name)
    assert len(endpoint.looked) == 1
    assert home.ps(name)["context"] == (4096 if what in ("a bare array", "numbers") else 0)


@pytest.mark.parametrize("field", ["stream_options", "max_tokens"])
def test_a_refused_field_is_replaced_and_the_refusal_is_remembered(home: House, endpoint: Server, field: str) -> None:
    words = f"unknown parameter {field}: use max_completion_tokens"
    endpoint.usual = refusing(field, words, answer("fine"))
    name = added(home, endpoint)
    assert home.ok("ask", "why?", "-m", name).out == "fine\n"
    assert home.ok("ask", "how?", "-m", name).out == "fine\n"
    assert [field in asked.body for asked in endpoint.asked] == [True, False, False]


def test_max_tokens_is_cut_to_the_room_that_the_endpoint_reports(home: House, endpoint: Server) -> None:
    words = ("This model's maximum context length is 512 tokens. However, you requested 2060 tokens (12 in the messages, "
             "2048 in the completion).")  # fmt: skip
    endpoint.script = [status(400, words)]
    home.ok("ask", "why?", "-m", added(home, endpoint))
    assert [asked.body["max_tokens"] for asked in endpoint.asked] == [2048, 500]


# ---- embeddings -----------------------------------------------------------------------------------------------------


def test_embeddings_are_requested_in_batches_and_keep_the_order_of_texts(home: House, endpoint: Server) -> None:
    name = added(home, endpoint, "--embedding", "--set", 'prompts={"query": "q: "}')
    assert "embed -m" in home.ok("models", "add", name, endpoint.url, "--embedding", "--force").err
    endpoint.usual = embed()
    texts = [chr(97 + number % 26) * (number + 1) for number in range(150)]
    lines = home.ok("embed", "-m", name, stdin="\n".join(texts)).lines
    assert [line["embedding"] for line in lines] == [vector_of(text) for text in texts]
    sizes = sorted(len(asked.body["input"]) for asked in endpoint.asked)  # they are on their way together
    assert sizes == [22, 64, 64]
    refused(home.run("ask", "why?", "-m", name), 5, "produces embeddings, not text")


def test_a_prompt_precedes_each_text_and_vectors_can_be_normalised(home: House, endpoint: Server) -> None:
    name = added(home, endpoint, "--embedding", "--set", 'prompts={"query": "q: "}', "--set", "normalize=true")
    endpoint.usual = embed()
    (line,) = home.ok("embed", "why", "--prompt", "query", "-m", name).lines
    assert endpoint.asked[0].body["input"] == ["q: why"]
    assert sum(number**2 for number in line["embedding"]) == pytest.approx(1)
    refused(home.run("embed", "why", "--prompt", "other", "-m", name), 5, "'other'", "query")


def test_a_text_that_is_too_long_to_embed_fails_alone(home: House, endpoint: Server) -> None:
    endpoint.usual = embed(most=5)
    outcome = home.run("embed", "abc", "much too long", "de", "-m", added(home, endpoint, "--embedding"))
    assert outcome.status == 5
    assert [line["index"] for line in outcome.lines if line.get("embedding")] == [0, 2]
    assert "more than 5 tokens" in outcome.err


PAIR = [3.0, 4.0]
VECTORS: list[Any] = [
    {
        "data": [{"index": "0", "embedding": base64.b64encode(struct.pack("<2f", *PAIR)).decode()}],
        "usage": {"prompt_tokens": "3"},
    },
    {"data": [{"embedding": ["3.0", 4]}]},
    {"data": [{"index": None, "embedding": [PAIR]}], "usage": None},
    {"embeddings": [PAIR], "error": None},
    [{"embedding": {"values": PAIR}}],
    [PAIR],
]


def test_vectors_are_read_in_each_encoding(home: House, endpoint: Server) -> None:
    name = added(home, endpoint, "--embedding")
    for vectors in VECTORS:
        endpoint.usual = plain(json.dumps(vectors), "application/json")
        assert home.ok("embed", "one", "-m", name).last["embedding"] == PAIR, vectors


@pytest.mark.parametrize(
    "vectors",
    [
        [], [{"index": 0, "embedding": []}], [{"index": 1, "embedding": [1.0]}], [{"embedding": [1.0]}] * 2, 7, None,
        [{"embedding": [None]}], [{"embedding": ["nan"]}], [{"embedding": [1e40]}], [{"embedding": "no base64"}],
    ],
)  # fmt: skip
def test_vectors_that_do_not_match_the_texts_are_an_error(home: House, endpoint: Server, vectors: Any) -> None:
    endpoint.usual = plain(json.dumps({"data": vectors}), "application/json")
    refused(home.run("embed", "one", "-m", added(home, endpoint, "--embedding")), 9, endpoint.url)
    assert len(endpoint.asked) == 1


# ---- failures and retries -------------------------------------------------------------------------------------------


def test_a_failure_before_the_first_token_is_retried(home: House, endpoint: Server) -> None:
    endpoint.script = [status(500), status(503), cut()]
    assert home.ok("ask", "why?", "-m", added(home, endpoint)).out == "hello there!\n"
    assert len(endpoint.asked) == 4


def test_retry_after_is_respected(home: House, endpoint: Server) -> None:
    endpoint.script = [status(429, "slow down", Retry_After="1")]
    outcome = home.ok("ask", "why?", "-m", added(home, endpoint), "--json")
    assert len(endpoint.asked) == 2
    assert outcome.last["timings"]["total_ms"] >= 1000
    endpoint.script = [status(429, "slow down", Retry_After="3600")]
    refused(home.run("ask", "how?", "-m", added(home, endpoint)), 10, "slow down", "3600 s")
    assert len(endpoint.asked) == 3, "an hour is not waited for"


def test_nothing_is_retried_after_the_first_token(home: House, endpoint: Server) -> None:
    endpoint.usual = cut("he", "llo")
    outcome = home.run("ask", "why?", "-m", name := added(home, endpoint))
    assert (outcome.status, outcome.out) == (9, "hello\n")
    assert len(endpoint.asked) == 1
    (record,) = home.records("completion_tokens, text", f"state = 'failed' AND model = '{name}'")
    assert record["completion_tokens"] == 2, "what it has cost so far is written down"


def test_an_error_in_the_middle_of_a_stream_is_reported(home: House, endpoint: Server) -> None:
    error = 'data: {"error": {"message": "out of memory", "code": 500}}\n\n'
    endpoint.usual = plain('data: {"choices": [{"delta": {"content": "he"}}]}\n\n' + error)
    outcome = home.run("ask", "why?", "-m", added(home, endpoint))
    assert (outcome.status, outcome.out, len(endpoint.asked)) == (9, "he\n", 1)
    assert "out of memory" in outcome.err


@pytest.mark.parametrize(("code", "expected", "requests"), [(500, 9, 2), (429, 10, 2), (501, 9, 1)])
def test_retries_are_limited_and_the_last_status_is_reported(
    home: House, endpoint: Server, code: int, expected: int, requests: int
) -> None:
    endpoint.usual = status(code, "not today")
    refused(home.run("ask", "why?", "-m", added(home, endpoint, "--set", "retries=1")), expected, f"{code}: not today")
    assert len(endpoint.asked) == requests


@pytest.mark.parametrize(
    "behaviour",
    [
        plain("data: {not json\n\n"),
        plain('data: {"choices": [{"delta": {"content": 7}}]}\n\n'),
        plain("<html>a portal</html>", "text/html"),
        plain("data: " + "x" * (9 * 2**20)),
        plain("\xff\xfe" * 10, "application/json"),
    ],
    ids=["json", "kind", "html", "endless line", "bytes"],
)
def test_an_invalid_response_is_an_error_and_not_retried(
    home: House, endpoint: Server, behaviour: faulty_server.Behaviour
) -> None:
    endpoint.usual = behaviour
    refused(home.run("ask", "why?", "-m", added(home, endpoint)), 9, endpoint.url)
    assert len(endpoint.asked) == 1


EMPTY = 'data: {"choices": [{"delta": {"content": ""}}]}\n\n'


@pytest.mark.parametrize(
    "behaviour", [drip("he"), drip("he", then=EMPTY), hold("he")], ids=["drip", "empty", "silence"]
)
def test_an_endpoint_that_falls_silent_is_a_failure(
    home: House, endpoint: Server, behaviour: faulty_server.Behaviour
) -> None:
    endpoint.usual = behaviour
    name = added(home, endpoint, "--set", "idle_s=1")
    outcome = home.run("ask", "why?", "-m", name)
    assert (outcome.status, outcome.out, len(endpoint.asked)) == (9, "he\n", 1)
    assert "sent nothing for 1 s" in outcome.err
    assert until(lambda: endpoint.open == 0), "and it was left"


def test_a_timeout_ends_a_slow_stream_with_the_partial_answer(home: House, endpoint: Server) -> None:
    endpoint.usual = drip("he")
    name = added(home, endpoint)
    for limit in ("1s", "4s", "16s"):  # the first is enough where the endpoint answers within a second
        outcome = home.run("ask", "why?", "-m", name, "--timeout", limit)
        assert outcome.status == 7
        if outcome.out:
            break
    assert outcome.out == "he\n"
    assert until(lambda: endpoint.open == 0)


@pytest.mark.parametrize(
    ("code", "words"), [(400, "temperature is not supported"), (422, "no such field"), (402, "pay first")]
)
def test_a_refusal_is_reported_in_the_endpoint_s_words(home: House, endpoint: Server, code: int, words: str) -> None:
    endpoint.usual = status(code, words)
    refused(home.run("ask", "why?", "-m", added(home, endpoint)), 5, words, endpoint.url)
    assert len(endpoint.asked) == 1


def test_a_prompt_that_is_too_long_for_the_endpoint_is_a_context_overflow(home: House, endpoint: Server) -> None:
    endpoint.usual = status(400, "This model's maximum context length is 8 tokens", "context_length_exceeded")
    outcome = home.run("ask", "why?", "-m", added(home, endpoint), "--json")
    assert (outcome.status, outcome.error["code"]) == (5, "context_overflow")


def test_an_unknown_model_of_an_endpoint_is_refused_with_the_available_ones(home: House, endpoint: Server) -> None:
    endpoint.usual = status(404, "model gone not found")
    outcome = home.run("ask", "why?", "-m", added(home, endpoint, "--remote-model", "gone"))
    refused(outcome, 4, "model gone not found", "It lists these models: tiny.", "does not list the model gone")


def test_an_endpoint_with_several_models_needs_a_model_name(home: House, endpoint: Server) -> None:
    endpoint.models = [{"id": "big", "max_model_len": 4096}, {"id": "small"}]
    name = added(home, endpoint)
    refused(home.run("ask", "why?", "-m", name), 4, "has 2 models: big, small", "--remote-model ID")
    home.ok("models", "add", name, endpoint.url, "--remote-model", "big", "--force")
    home.ok("ask", "why?", "-m", name)
    assert endpoint.asked[0].body["model"] == "big"
    assert home.ps(name)["context"] == 4096


def test_an_endpoint_without_a_model_list_needs_a_model_name(home: House, endpoint: Server) -> None:
    endpoint.for_models = status(404, "no such page")
    refused(home.run("ask", "why?", "-m", added(home, endpoint)), 4, "404 to /models", "/v1")
    home.ok("ask", "why?", "-m", added(home, endpoint, "--remote-model", "x"))


def test_an_unreachable_endpoint_is_reported_and_then_paused_by_the_breaker(home: House) -> None:
    with server() as endpoint:
        name = added(home, endpoint, "--set", "retries=1")
        home.ok("ask", "why?", "-m", name)
        assert home.ps(name)["state"] == "ready"
    for _ in range(2):
        refused(home.run("ask", "how?", "-m", name), 4, endpoint.url, "cannot be reached")
    refused(home.run("ask", "what?", "-m", name), 4, "cannot be reached")
    refused(home.run("ask", "when?", "-m", name), 4, "5 times in a row", "tried again in")
    assert home.ps(name)["state"] == "down"
    other = f"{name}b"
    home.ok("models", "add", other, endpoint.url)
    refused(home.run("ask", "when?", "-m", other), 4, "5 times in a row")  # it is the endpoint that is down


# ---- keys -----------------------------------------------------------------------------------------------------------


def test_an_api_key_is_sent_and_written_nowhere(endpoint: Server) -> None:
    endpoint.script = [answer("fine"), status(401, f"{SECRET} is no key of ours"), status(500, f"{SECRET} crashed me")]
    with a_house(THE_KEY=SECRET, LLMCTL_LOGS__LEVEL="debug") as house:
        name = added(house, endpoint, "--api-key-env", "THE_KEY", "--set", "retries=0")
        said = [house.run("ask", word, "-m", name) for word in ("why?", "how?", "what?")]
        assert [outcome.status for outcome in said] == [0, 4, 9]
        assert endpoint.asked[0].headers["authorization"] == f"Bearer {SECRET}"
        assert endpoint.looked[0].headers["authorization"] == f"Bearer {SECRET}"
        assert "refuses the key of the variable THE_KEY" in said[1].err
        said += [house.run("models", "show", name), house.run("ps", "--json"), house.run("history", "ls")]
        house.stop()
        assert not [outcome for outcome in said if SECRET in outcome.out + outcome.err]
        files = [path for path in house.place.rglob("*") if path.is_file()]
        assert len(files) > 5
        assert not [path for path in files if SECRET.encode() in path.read_bytes()]


def test_a_missing_api_key_names_its_variable_and_how_to_pass_it_to_the_hub(home: House, endpoint: Server) -> None:
    name = added(home, endpoint, "--api-key-env", "OTHER_KEY")
    outcome = home.run("ask", "why?", "-m", name, OTHER_KEY="set too late")
    refused(outcome, 4, "OTHER_KEY", "the hub's environment", "llmctl daemon restart")
    assert "set too late" not in outcome.err
    assert endpoint.looked == []


def test_an_endpoint_that_requires_a_key_gets_a_hint_how_to_set_one(home: House, endpoint: Server) -> None:
    endpoint.for_models = status(401, "who are you?")
    refused(home.run("models", "load", added(home, endpoint)), 4, "requires a key", "who are you?", "--api-key-env")


KEYRING = '''
"""A keyring for one test, which notes what it is asked for."""
import os
from keyring.backend import KeyringBackend

class Ring(KeyringBackend):
    priority = 1
    def get_password(self, service, name):
        with open(os.environ["HOME"] + "/asked", "a") as file:
            print(name, file=file)
        return {("llmctl", "IN_THE_RING"): "sk-from-the-ring"}.get((service, name))
    def set_password(self, service, name, password): ...
    def delete_password(self, service, name): ...
'''


def test_the_keyring_is_asked_for_a_key_only_without_a_variable(endpoint: Server) -> None:
    with a_house(THE_KEY=SECRET, PYTHON_KEYRING_BACKEND="a_ring.Ring") as house:
        (house.home / "a_ring.py").write_text(KEYRING)
        house.variables["PYTHONPATH"] = str(house.home)
        house.ok("ask", "why?", "-m", added(house, endpoint, "--api-key-env", "THE_KEY"))
        house.ok("ask", "why?", "-m", added(house, endpoint))
        house.ok("ask", "why?", "-m", added(house, endpoint, "--api-key-env", "IN_THE_RING"))
        keys = [asked.headers.get("authorization") for asked in endpoint.asked]
        assert keys == [f"Bearer {SECRET}", None, "Bearer sk-from-the-ring"]
        refused(house.run("ask", "why?", "-m", added(house, endpoint, "--api-key-env", "NOWHERE")), 4, "NOWHERE")
        assert (house.home / "user" / "asked").read_text().split() == ["IN_THE_RING", "NOWHERE"]


# ---- adding models --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "flags", "words"),
    [
        ("http://user:secret@host/v1", (), "user name or a password"),
        ("http:///v1", (), "has no host"),
        ("http://host:none/v1", (), "cannot be read"),
        ("http://host/v1?key=x", (), "query"),
        ("http://host/v1/chat/completions", (), "/chat/completions"),
        ("http://host/v1", ("--api-key-env", "sk-a-key"), "api_key_env"),
        ("http://host/v1", ("--set", "gpu_layers=3"), "gpu_layers"),
        ("http://host/v1", ("--set", "retries=11"), "retries"),
        ("echo", ("--remote-model", "x"), "remote_model"),
        ("echo", ("--embedding",), "produces text"),
    ],
)
def test_adding_an_invalid_remote_model_is_refused_with_the_reason(
    home: House, target: str, flags: tuple[str, ...], words: str
) -> None:
    outcome = home.run("models", "add", "wrong", target, *flags)
    refused(outcome, 5, words)
    assert "secret" not in outcome.err
    assert "sk-a-key" not in outcome.err


def test_an_api_key_in_plain_text_gets_a_warning(home: House) -> None:
    outcome = home.ok("models", "add", "plain", "http://models.example/v1", "--api-key-env", "THE_KEY")
    assert "is sent unencrypted" in outcome.err
    for safe in ("https://models.example/v1", "http://127.0.0.1:1/v1", "http://localhost:1/v1"):
        assert "unencrypted" not in home.ok("models", "add", "plain", safe, "--api-key-env", "THE_KEY", "--force").err
    home.ok("models", "rm", "plain", "--yes")


# ---- clients and slots ----------------------------------------------------------------------------------------------


def test_ctrl_c_closes_the_connection_to_the_endpoint_at_once(home: House, endpoint: Server) -> None:
    endpoint.usual = hold("he", "llo")
    name = added(home, endpoint)
    command = home.spawn("ask", "why?", "-m", name)
    command.first_byte()
    assert (home.ps(name)["state"], home.busy(name)) == ("busy", 1)
    command.interrupt()
    outcome = command.end()
    assert (outcome.status, outcome.out) == (130, "hello\n")
    assert until(lambda: endpoint.open == 0), "the server has seen it"
    assert home.busy(name) == 0
    (record,) = home.records("completion_tokens, model", f"state = 'cancelled' AND model = '{name}'")
    assert record["completion_tokens"] == 2


def test_a_killed_client_closes_the_connection_to_the_endpoint(home: House, endpoint: Server) -> None:
    endpoint.usual = hold("hello")
    command = home.spawn("ask", "why?", "-m", added(home, endpoint))
    command.first_byte()
    command.send_signal(signal.SIGKILL)
    assert until(lambda: endpoint.open == 0)


def test_a_cancel_while_waiting_for_a_retry_ends_the_request(home: House, endpoint: Server) -> None:
    endpoint.usual = status(503, "later", Retry_After="25")
    command = home.spawn("ask", "why?", "-m", added(home, endpoint))
    until(lambda: endpoint.asked)
    command.interrupt()
    assert command.end().status == 130
    assert len(endpoint.asked) == 1


def test_no_more_requests_run_at_once_than_there_are_slots(home: House, endpoint: Server) -> None:
    endpoint.usual = hold("x")
    name = added(home, endpoint, "--set", "slots=2")
    commands = [home.spawn("ask", str(number), "-m", name) for number in range(3)]
    until(lambda: home.busy(name) == 2 and home.status()["requests_in_flight"] == 3)
    assert (endpoint.open, len(endpoint.asked)) == (2, 2)
    asked = {asked.body["messages"][0]["content"] for asked in endpoint.asked}
    commands[int(min(asked))].interrupt()
    assert until(lambda: len(endpoint.asked) == 3), "the third had waited"
    for command in commands:
        command.interrupt()
    assert until(lambda: endpoint.open == 0)
    assert home.ps(added(home, endpoint)) == {}, "a model that nobody has used has no line"


def test_load_contacts_the_endpoint_and_unload_closes_its_connections(home: House, endpoint: Server) -> None:
    name = added(home, endpoint)
    (line,) = home.ok("models", "load", name, "--json").lines
    assert (line["name"], line["backend"], line["pid"], line["memory_bytes"], line["slots"]) == (
        name,
        "remote",
        0,
        0,
        16,
    )
    assert (len(endpoint.looked), len(endpoint.asked)) == (1, 0)
    home.ok("models", "unload", name)
    assert home.ps(name) == {}
    home.ok("ask", "why?", "-m", name)
    assert len(endpoint.looked) == 2
    refused(home.run("models", "unload", added(home, endpoint)), 4, "is not loaded")
