"""Remote models against a third-party server: that of llama-cpp-python, in its own process."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from tests import tiny_bert, tiny_gguf
from tests.e2e.house import House, until
from tests.e2e.house import house as a_house
from tests.e2e.test_bad_input import refused

pytest.importorskip("uvicorn", reason="needs the extra `server` of llama-cpp-python")


@contextmanager
def llama_server(model: Path, *flags: str) -> Iterator[tuple[str, psutil.Process]]:
    """Its address, once it answers, and its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "llama_cpp.server",
        "--model",
        str(model),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    environ = os.environ | {"PYTHONWARNINGS": "ignore"}
    with open(model.with_suffix(".log"), "wb") as log:
        process = subprocess.Popen([*command, *flags], stdout=log, stderr=log, env=environ)
    try:
        until(lambda: answers(port) or process.poll() is not None, what=f"a server of {model}")
        assert process.poll() is None, model.with_suffix(".log").read_text()[-2000:]
        yield f"http://127.0.0.1:{port}/v1", psutil.Process(process.pid)
    finally:
        process.kill()
        process.wait()


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """The same file as a model of this machine, `near`, and behind the server, `far`."""
    file = tmp_path_factory.mktemp("far") / "tiny.gguf"
    tiny_gguf.write(file, seed=7, context=512, sharp=4.0, chat_template=tiny_gguf.CHAT_TEMPLATE)
    with llama_server(file, "--n_ctx", "512", "--model_alias", "the-tiny-one") as (url, _), a_house() as made:
        made.ok("models", "add", "near", file, "--set", "speculation=off")
        made.ok("models", "add", "far", url)
        yield made


def test_the_remote_server_answers_like_the_same_file_run_locally(home: House) -> None:
    flags = ("--raw", "--temperature", "0", "--repeat-penalty", "1", "--max-tokens", "24", "--json")
    near, far = (home.ok("ask", "the stone", *flags, "-m", name).last for name in ("near", "far"))
    assert far["text"] == near["text"] != ""
    assert far["finish_reason"] == near["finish_reason"] == "length"
    assert far["usage"]["completion_tokens"] == 24


def test_a_conversation_with_the_remote_server_continues(home: House) -> None:
    first = home.ok(
        "ask", "why?", "-m", "far", "--max-tokens", "9", "--seed", "1", "--conversation", "c", "--json"
    ).last
    assert (len(first["text"]), first["usage"]["completion_tokens"], first["finish_reason"]) == (9, 9, "length")
    more = home.ok("ask", "how?", "-m", "far", "--max-tokens", "9", "--seed", "1", "-c", "--json").last
    assert (more["conversation"], len(more["text"])) == ("c", 9)
    assert first["usage"]["prompt_tokens"] == 0, "it tells no usage of a stream"


def test_log_probabilities_of_a_raw_text_are_returned(home: House) -> None:
    flags = ("--raw", "--temperature", "0", "--repeat-penalty", "1", "--max-tokens", "4", "--logprobs", "2", "--json")
    near, far = (home.ok("ask", "the stone", "-m", name, *flags).last["logprobs"] for name in ("near", "far"))
    assert [each["token"] for each in far] == [each["token"] for each in near]
    for one, other in zip(far, near, strict=True):
        assert one["logprob"] == pytest.approx(other["logprob"], abs=0.01)
        assert [top["token"] for top in one["top"]] == [top["token"] for top in other["top"]]


def test_a_refused_request_is_reported_in_the_server_s_words(home: House) -> None:
    script = "from llmctl import Client\nwith Client() as c: c.ask(tokens=[1, 266], model='far')"
    assert "Input should be a valid string" in home.python(script).end().err
    assert home.ps("far")["state"] == "ready", "it has answered, and others may ask what it takes"


def test_a_schema_constrains_the_remote_server_too(home: House) -> None:
    line = home.ok("ask", "who?", "-m", "far", "--schema", '{"enum": ["yes", "no"]}', "--json").last
    assert line["value"] in ("yes", "no")


def test_stop_strings_and_seeds_work_on_the_remote_server(home: House) -> None:
    text = home.ok("ask", "the stone", "--raw", "--temperature", "0", "--max-tokens", "24", "-m", "far").out
    stop = text[4]
    stopped = home.ok(
        "ask", "the stone", "--raw", "--temperature", "0", "--max-tokens", "24", "-m", "far", "--stop", stop
    )
    assert stopped.out == text.partition(stop)[0] + "\n"
    flags = ("-m", "far", "--temperature", "1", "--max-tokens", "12", "--no-cache")
    first, again, other = (home.ok("ask", "the stone", "--raw", *flags, "--seed", seed).out for seed in ("3", "3", "4"))
    assert first == again != other


def test_a_prompt_longer_than_the_context_is_a_context_overflow(home: House) -> None:
    """This server answers with an empty stream; its error message comes from a second, unstreamed request."""
    outcome = home.run("ask", "the stone " * 400, "-m", "far", "--json")
    assert (outcome.status, outcome.error["code"]) == (5, "context_overflow")


def test_remote_embeddings_equal_those_of_the_same_file_run_locally(home: House, tmp_path: Path) -> None:
    from llmctld.engine.embed.convert import convert

    folder = tiny_bert.write(tmp_path / "bert")
    convert(folder, tmp_path / "bert.gguf")
    with llama_server(tmp_path / "bert.gguf", "--embedding", "true") as (url, _):
        home.ok("models", "add", "here", tmp_path / "bert.gguf")
        home.ok("models", "add", "there", url, "--embedding", "--set", "normalize=true")
        here, there = (
            np.array([line["embedding"] for line in home.ok("embed", "one", "two words", "-m", name).lines])
            for name in ("here", "there")
        )
        assert (here * there).sum(axis=1) == pytest.approx([1, 1], abs=1e-4)


def test_a_server_that_dies_during_an_answer_fails_the_request(home: House, tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "slow.gguf", seed=7, context=8192, layers=24, dim=256)
    with llama_server(tmp_path / "slow.gguf", "--n_ctx", "8192") as (url, process):
        home.ok("models", "add", "dying", url)
        command = home.spawn("ask", "the stone", "--raw", "--max-tokens", "8000", "--temperature", "0", "-m", "dying")
        assert command.first_byte()
        process.kill()
        outcome = command.end()
        assert outcome.status == 9
        assert outcome.out.strip()
        refused(home.run("ask", "the stone", "-m", "dying"), 4, "cannot be reached")
