"""A whole llama.cpp with AMX, emulated: without our header each quantised file crashes and is survived; with it each is computed.

`make test-amx` builds both libraries and runs this. It says nothing of speed: an emulated instruction takes about a microsecond.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from gguf import GGUFReader
from llmctld.native import tile_config

from tests import kinds_gguf
from tests.amx.emulated import Emulator, emulator, missing
from tests.amx.llama_build import lacking
from tests.e2e.house import REPOSITORY, House, Outcome
from tests.e2e.house import house as a_house
from tests.quantised import QUANTS, quantise
from tests.slow_twin import Twin, sure

LIBRARIES = Path(os.environ["LLMCTL_AMX"]).resolve()
AMX = {"Q4_0", "Q4_1", "Q8_0", "Q4_K", "Q5_K", "Q6_K", "IQ4_XS"}
"""Types of weights that llama.cpp has an AMX kernel for."""
COUNT = 12
ROUNDING, ROUNDING_F16 = 1e-5, 5e-3
"""Of a sum of 512 products in float32; the plain kernel of F16 rounds what it is given."""
CRASHES = {signal.SIGSEGV.name, signal.SIGILL.name}
"""What rubbish on the stack makes of a tile configuration: one that is refused, or one without tiles."""

pytestmark = pytest.mark.skipif(
    bool(missing() or lacking()), reason=missing() or f"this processor has no {' '.join(sorted(lacking()))}"
)


class Asked(NamedTuple):
    """A file, what is asked of it, and what the plain loop answers without AMX."""

    path: Path
    prompt: str
    answer: str
    types: set[str]


class Emulated(NamedTuple):
    house: House
    here: Emulator

    def falls(self, name: str) -> list[tuple[str, str]]:
        """Rung and cause."""
        lines = map(json.loads, self.house.log.read_text().splitlines())
        event = "a model does not load on this rung"
        return [(line["rung"], line["cause"]) for line in lines if (line["event"], line.get("model")) == (event, name)]

    def ask(self, name: str, asked: Asked) -> Outcome:
        if name not in self.house.ok("models", "ls").out:
            self.house.ok("models", "add", name, asked.path)
        options = (
            "--raw",
            "--temperature",
            "0",
            "--max-tokens",
            COUNT,
            "--no-cache",
            "--no-stdin",
            "--json",
            "--no-stream",
        )
        return self.house.ok("ask", asked.prompt, "-m", name, *options)


@pytest.fixture(scope="module")
def questions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Asked]:
    """One prompt of each quantisation whose answer does not depend on rounding."""
    folder = tmp_path_factory.mktemp("kinds")
    found = {}
    for kind in QUANTS:
        source = folder / ("experts.gguf" if kind == "MXFP4_MOE" else "llama.gguf")
        if not source.exists():
            kinds_gguf.write(source, "llama+experts" if kind == "MXFP4_MOE" else "llama")
        path = quantise(source, folder / f"{kind}.gguf", kind)
        twin = Twin(path)
        prompt, answer = next(sure(twin, COUNT))
        twin.close()
        types = {tensor.tensor_type.name for tensor in GGUFReader(path).tensors}
        found[kind] = Asked(path, prompt, answer, types)
    return found


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Emulator:
    return emulator(tmp_path_factory.mktemp("amx"))


def emulated(here: Emulator, name: str) -> Iterator[Emulated]:
    own = here._replace(counts=here.counts.with_name(name))
    with a_house(**own.variables, LLAMA_CPP_LIB_PATH=str(LIBRARIES / name)) as made:
        yield Emulated(made, own)
        made.stop()


@pytest.fixture(scope="module")
def bare(here: Emulator) -> Iterator[Emulated]:
    yield from emulated(here, "bare")


@pytest.fixture(scope="module")
def repaired(here: Emulator) -> Iterator[Emulated]:
    yield from emulated(here, "header")


@pytest.mark.parametrize("kind", QUANTS)
def test_without_the_header_each_quantisation_crashes_once_and_is_answered(
    bare: Emulated, questions: dict[str, Asked], kind: str
) -> None:
    name, asked = kind.lower().replace("_", "-"), questions[kind]
    outcome = bare.ask(name, asked)
    assert outcome.last["text"] == asked.answer
    falls = bare.falls(name)
    assert [rung for rung, _ in falls] == (["as it is"] if asked.types & AMX else [])
    assert {cause for _, cause in falls} <= CRASHES
    rung = "no AMX" if falls else "as it is"
    assert bare.house.ps(name)["rung"] == rung
    assert bare.house.ok("models", "show", name, "--json").last["rung"] == rung
    said = f"{name} runs without the processor's own matrix kernels, because llama.cpp crashes with them here"
    assert outcome.err.count(said) == len(falls)
    assert "TDPBSSD" not in bare.here.executed()

    again = f"{name}-again"  # of the same kind: straight to what works
    assert bare.ask(again, asked).last["text"] == asked.answer
    assert (bare.falls(again), bare.house.ps(again)["rung"]) == ([], rung)


@pytest.mark.parametrize("kind", QUANTS)
def test_with_the_header_each_quantisation_is_computed_with_amx(
    repaired: Emulated, questions: dict[str, Asked], kind: str
) -> None:
    name, asked = kind.lower().replace("_", "-"), questions[kind]
    before = repaired.here.executed().get("TDPBSSD", 0)
    outcome = repaired.ask(name, asked)
    assert outcome.last["text"] == asked.answer
    assert (repaired.house.ps(name)["rung"], repaired.falls(name)) == ("as it is", [])
    assert "crashes" not in outcome.err
    assert (repaired.here.executed().get("TDPBSSD", 0) > before) is bool(asked.types & AMX)


def test_an_embedding_model_crashes_without_the_header_and_works_with_it(
    bare: Emulated, repaired: Emulated, tmp_path: Path
) -> None:
    path = quantise(kinds_gguf.write(tmp_path / "f.gguf", "bert"), tmp_path / "bert.gguf", "Q8_0")
    vectors = []
    for emulated, rung in ((bare, "no AMX"), (repaired, "as it is")):
        emulated.house.ok("models", "add", "bert", path)
        vectors.append(emulated.house.ok("embed", "the old cat sleeps", "-m", "bert").last["embedding"])
        assert emulated.house.ps("bert")["rung"] == rung
    assert vectors[0] == pytest.approx(vectors[1], abs=0.01)


def doctor(emulated: Emulated) -> dict[str, dict[str, str]]:
    """What it finds of kernels, by their kind of buffers."""
    lines = emulated.house.ok("daemon", "doctor", "--json", timeout=600).lines
    return {line["check"].removeprefix("kernels "): line for line in lines if line["check"].startswith("kernels ")}


def test_doctor_reports_broken_and_working_kernels_like_the_build_check(bare: Emulated, repaired: Emulated) -> None:
    found = doctor(bare)
    assert (found["AMX"]["state"], found["CPU_REPACK"]["state"], found["plain"]["state"]) == ("warn", "ok", "ok")
    broken, works = found["AMX"]["detail"].split("; ", 1)
    assert {each.split(" (")[0] for each in broken.removeprefix("broken: ").split(", ")} == AMX
    assert works.startswith("good: F16. ")
    assert f"-include {tile_config.HEADER}" in found["AMX"]["hint"]
    assert tile_config.drops(tile_config.compiler())

    found = doctor(repaired)
    assert {kind["state"] for kind in found.values()} == {"ok"}
    assert set(found["AMX"]["detail"].removeprefix("good: ").split(", ")) == {*AMX, "F16"}
    assert not tile_config.drops(tile_config.compiler(), "-include", str(tile_config.HEADER))


def test_amx_kernels_compute_what_plain_ones_do(here: Emulator) -> None:
    variables = {"PATH": os.environ["PATH"], "LLAMA_CPP_LIB_PATH": str(LIBRARIES / "header"), **here.variables}
    command = [sys.executable, "-m", "tests.amx.products"]
    done = subprocess.run(command, env=variables, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = {line.split()[0]: float(line.split()[1]) for line in done.stdout.splitlines()}
    assert set(found) == {*AMX, "F16"}
    assert found.pop("F16") < ROUNDING_F16
    assert max(found.values()) < ROUNDING, found
