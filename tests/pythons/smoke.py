"""Ten commands of an installed `llmctl`, with every backend: a release that does not start fails here.

It knows the command line and nothing of the Python behind it; the models, the hub and the endpoint are made here.
"""

import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests import faulty_server, tiny_gguf, tiny_hub
from tests.e2e import house as houses
from tests.e2e.house import House
from tests.pythons.install import Installed

GREEDY = ("--raw", "--temperature", "0", "--max-tokens", "8", "-q")


@dataclass
class Scene:
    """What the commands meet. `torch`: whether a folder can be run, or must be refused in words."""

    house: House
    gguf: Path
    folder: Path
    hub: tiny_hub.Hub
    endpoint: faulty_server.Server
    torch: bool


def add(scene: Scene) -> str:
    scene.house.echo()
    for name, target in (("tiny", scene.gguf), ("folder", scene.folder), ("far", scene.endpoint.url)):
        scene.house.ok("models", "add", name, target)
    return f"{len(scene.house.ok('models', 'ls', '--json').lines)} models"


def ask(scene: Scene) -> str:
    first = scene.house.ok("ask", "Once upon a time", "-m", "tiny", *GREEDY, "--no-cache").out
    assert first.strip()
    stored = scene.house.ok("ask", "Once upon a time", "-m", "tiny", *GREEDY, "--refresh").out
    again = scene.house.ok("ask", "Once upon a time", "-m", "tiny", *GREEDY, "--json").last
    assert (first, again["cache"]["hit"], again["text"] + "\n") == (stored, "memory", first), (first, stored, again)
    return repr(first.strip())


def guide(scene: Scene) -> str:
    answer = scene.house.ok("ask", "How do I use my own model file?", "-m", "guide").out
    assert "llmctl models add" in answer, answer
    return "the built-in guide is in the package"


def stream(scene: Scene) -> str:
    for model in ("echo", "far"):
        answer = scene.house.ok("ask", "hello there!", "-m", model, "--json", "--no-cache")
        assert len(answer.lines) > 1
        assert answer.pieces == answer.last["text"] == "hello there!"
    return "echo, and an endpoint over HTTP"


def embed(scene: Scene) -> str:
    lines = scene.house.ok("embed", "the sky", "is blue").lines
    assert [len(line["embedding"]) for line in lines] == [384, 384]
    return "the built-in model, converted"


def schema(scene: Scene) -> str:
    asking = ("ask", "who?", "-m", "tiny", "--schema", '{"enum": [["a", true], 7]}', "--temperature", "0", "--json")
    assert scene.house.ok(*asking).last["value"] in (["a", True], 7)
    return "a grammar in llama.cpp"


def semantic(scene: Scene) -> str:
    asking = ("-m", "echo", "--semantic", "--explain")
    scene.house.ok("ask", "How do I boil an egg?", *asking)
    told = scene.house.ok("ask", "How can I boil an egg?", *asking).err
    assert "semantic" in told
    return "an index, and a neighbour"


def torch_folder(scene: Scene) -> str:
    outcome = scene.house.run("ask", "The sky", "-m", "folder", *GREEDY)
    assert "Traceback" not in outcome.err
    if outcome.status == 0:
        assert outcome.out.strip()
        return repr(outcome.out.strip())
    assert not scene.torch or "3.11 or newer" in outcome.err, outcome
    assert outcome.status == 4, outcome
    assert "pip install" in outcome.err or "a newer Python" in outcome.err, outcome
    return outcome.err.splitlines()[-2].removeprefix("llmctl: ")


def pull(scene: Scene) -> str:
    scene.house.variables["HF_ENDPOINT"] = scene.hub.url
    scene.house.ok("pull", "ana/tiny", "--as", "pulled")
    assert scene.house.ok("ask", "Once upon a time", "-m", "pulled", *GREEDY).out.strip()
    return "from a hub on loopback"


def cache(scene: Scene) -> str:
    scene.house.ok("ask", "what is {thing}?", "-p", "thing=rain", "-m", "echo", "--save", "what")
    assert scene.house.ok("ask", "-t", "what", "-p", "thing=snow").out == "what is snow?\n"
    assert "what" in scene.house.ok("templates", "ls").out
    assert scene.house.ok("cache", "ls", "--json").lines
    scene.house.ok("cache", "replay", "--history")
    return f"{len(scene.house.ok('cache', 'ls', '--json').lines)} stored answers"


def stop(scene: Scene) -> str:
    assert scene.house.ok("daemon", "doctor", "--json") if scene.torch else True
    scene.house.stop()
    assert scene.house.ended()
    assert "Traceback" not in scene.house.log.read_text()
    return "nothing is left"


COMMANDS: tuple[Callable[[Scene], str], ...] = (
    add,
    ask,
    guide,
    stream,
    embed,
    schema,
    semantic,
    torch_folder,
    pull,
    cache,
    stop,
)


def smoke(installed: Installed) -> Iterator[tuple[str, str, bool]]:
    """Each command's name, what came of it, and whether that is right; one that fails does not keep the next from trying."""
    houses.LLMCTL = installed.llmctl
    with _scene(installed.torch) as scene:
        for command in COMMANDS:
            try:
                yield command.__name__, command(scene), True
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told
                yield command.__name__, f"{type(error).__name__}: {error}", False


@contextmanager
def _scene(torch: bool) -> Iterator[Scene]:
    with tempfile.TemporaryDirectory() as made, houses.house() as house, faulty_server.server() as endpoint:
        place = Path(made)
        tiny_gguf.write(place / "tiny.gguf", seed=7)
        folder = _llama(place / "llama")
        files = {"tiny-Q8_0.gguf": (place / "tiny.gguf").read_bytes()}
        with tiny_hub.tiny_hub(ana__tiny=tiny_hub.Repository(files)) as hub:
            yield Scene(house, place / "tiny.gguf", folder, hub, endpoint, torch)


def _llama(folder: Path) -> Path:
    """A folder of transformers; written by a process of its own, since that library has much to say."""
    script = f"from pathlib import Path; from tests import tiny_llama; tiny_llama.write(Path({str(folder)!r}))"
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    return folder
