"""`python -m llmctld.doctor`: checks versions, folders, permissions, memory and native libraries; prints a line of JSON for each.

Starts and changes nothing. `llmctl daemon doctor` shows the lines.
"""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import psutil

from llmctl import __version__, config
from llmctl.errors import LlmctlError, Unreachable
from llmctl.interpreter import code
from llmctl.paths import Paths, check_way, find_paths
from llmctld.doctor import kernels
from llmctld.history import MIGRATIONS
from llmctld.models.catalogue.target import ECHO, MODULES, REMOTE
from llmctld.models.engines.ladder import Ladder
from llmctld.runtime.exit_status import exit_name
from llmctld.runtime.lines import say

LIBRARIES = {
    "llama_cpp": "pip install llama-cpp-python",
    "torch": "pip install torch",
    "faiss": "pip install faiss-cpu",
    "zmq": "pip install pyzmq",
}
"""Native library -> the command that installs it."""
PACKAGES = (
    "typer",
    "rich",
    "pyzmq",
    "msgspec",
    "diskcache",
    "llama-cpp-python",
    "torch",
    "sentence-transformers",
    "transformers",
    "faiss-cpu",
)
REBUILD = "This command rebuilds the library (add the options of your own build, such as -DGGML_CUDA=ON, to CMAKE_ARGS)"
LITTLE_MEMORY, LITTLE_DISK = 2 * 2**30, 2**30


class Check(NamedTuple):
    """`state` is ok, warn or fail; `hint` says what to do."""

    check: str
    state: str
    detail: str
    hint: str = ""


def versions(paths: Paths) -> Iterator[Check]:
    yield Check("llmctl", "ok", f"{__version__} on Python {sys.version.split()[0]}")
    for package in PACKAGES:
        try:
            yield Check(package, "ok", metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Check(package, "fail", "not installed", f"pip install {package}")


def configuration(paths: Paths) -> Iterator[Check]:
    try:
        loaded = config.load(paths.config_file)
        if words := config.exposed(paths.config_file, loaded):
            yield Check("configuration secrets", "warn", *words.split("; ", 1))
        there = "" if paths.config_file.exists() else " (does not exist; the defaults apply)"
        yield Check("configuration", "ok", f"{paths.config_file}{there}")
    except LlmctlError as error:
        yield Check("configuration", "fail", error.message, error.hint)


def folders(paths: Paths) -> Iterator[Check]:
    for name, folder in (("run", paths.run), ("state", paths.state), ("cache", paths.cache), ("models", paths.models)):
        yield _folder(f"folder {name}", folder)
    try:
        check_way(paths.run)
        yield Check("way to the socket", "ok", "no other user can replace a folder on it")
    except Unreachable as error:
        yield Check("way to the socket", "fail", error.message, error.hint)


def _folder(check: str, folder: Path) -> Check:
    if not folder.exists():
        parent = next((place for place in folder.parents if place.exists()), Path("/"))
        if parent.is_dir() and os.access(parent, os.W_OK | os.X_OK):
            return Check(check, "ok", f"{folder} (will be created)")
        return Check(
            check, "fail", f"{folder} cannot be created in {parent}", "Set LLMCTL_HOME to a folder of your own."
        )
    found = folder.stat()
    if found.st_uid != os.getuid() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return Check(
            check,
            "fail",
            f"{folder} is not writable",
            f"Make the folder yours (chown, then chmod 700 {folder}), or set LLMCTL_HOME to another folder.",
        )
    if found.st_mode & 0o077:
        return Check(
            check,
            "warn",
            f"{folder} can be read by other users (mode {found.st_mode & 0o777:o})",
            f"chmod 700 {folder}",
        )
    return Check(check, "ok", str(folder))


def state(paths: Paths) -> Iterator[Check]:
    """Whether the history can be read; opened read-only, so that a running hub is not disturbed."""
    if not paths.history.exists():
        yield Check("history", "ok", f"{paths.history} (will be created)")
        return
    try:
        with closing(sqlite3.connect(f"{paths.history.as_uri()}?mode=ro", uri=True)) as connection:
            ((verdict,),) = connection.execute("PRAGMA quick_check(1)").fetchall()
            version = connection.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.Error as error:
        verdict, version = str(error), 0
    if verdict != "ok":
        hint = f"The hub sets it aside and creates a new one; `sqlite3 {paths.history} .recover` may save its contents."
        yield Check("history", "fail", f"{paths.history}: {verdict}", hint)
    elif version > len(MIGRATIONS):
        detail = f"{paths.history} has schema {version}; this version knows {len(MIGRATIONS)}"
        yield Check("history", "fail", detail, "Install the newer llmctl again, or set LLMCTL_HOME to another folder.")
    else:
        yield Check("history", "ok", f"{paths.history}, schema {version}")


def models(paths: Paths) -> Iterator[Check]:
    broken: list[str] = []
    found = config.read_models(paths.models, broken.append)
    for words in broken:
        yield Check("model", "fail", *words.split("; ", 1))
    for entry in found.values():
        target = Path(entry.target)
        files = (target, target / MODULES, target / "config.json")  # a file, or either kind of folder
        there = entry.backend in (ECHO, REMOTE) or any(file.is_file() for file in files)
        hint = "" if there else f"Restore the file, or run `llmctl models rm {entry.name}`."
        yield Check(
            f"model {entry.name}",
            "ok" if there else "fail",
            entry.target if there else f"{entry.target} does not exist",
            hint,
        )


def room(paths: Paths) -> Iterator[Check]:
    free = psutil.virtual_memory().available
    state = "warn" if free < LITTLE_MEMORY else "ok"
    yield Check(
        "free memory", state, f"{free / 2**30:.1f} GiB", "Larger models cannot be loaded." if state == "warn" else ""
    )
    place = next(place for place in (paths.state, *paths.state.parents) if place.exists())
    left = shutil.disk_usage(place).free
    state = "warn" if left < LITTLE_DISK else "ok"
    yield Check(
        "free disk", state, f"{left / 2**30:.1f} GiB at {place}", "Free some disk space." if state == "warn" else ""
    )


def libraries(paths: Paths) -> Iterator[Check]:
    """Imports each library in a process of its own: a crash at import must not end the doctor."""
    for name, remedy in LIBRARIES.items():
        done = subprocess.run(code(f"import {name}"), capture_output=True, text=True, timeout=600, check=False, cwd="/")
        if done.returncode == 0:
            yield Check(f"library {name}", "ok", "loads")
        else:
            last = (done.stderr.strip().splitlines() or [exit_name(done.returncode)])[-1]
            yield Check(f"library {name}", "fail", last, remedy)


def special(paths: Paths) -> Iterator[Check]:
    """llama.cpp's kernels for this processor, and what was learned from crashed engines."""
    for report in kernels.reports():
        works = f"good: {', '.join(report.good)}" if report.good else "none works"
        check = f"kernels {report.buffers}"
        if report.broken:
            detail = f"broken: {', '.join(report.broken)}; {works}. Effect: {report.cost}"
            hint = f"{REBUILD}: {report.repair}"
            yield Check(check, "fail" if report.buffers == kernels.PLAIN else "warn", detail, hint)
        else:
            yield Check(check, "ok", works)
    if kernels.lacks_amx():
        detail = f"llama-cpp-python was built without AMX, which this processor has. Effect: {kernels.COSTS['AMX']}"
        yield Check("kernels AMX", "warn", detail, f"{REBUILD}: {kernels.build_with_amx()}")
    for known in Ladder(paths.rungs).here():
        falls = ", ".join(f"{fall.rung!r} ({fall.cause})" for fall in known.falls)
        hint = "This record is cleared when the library is rebuilt; `llmctl ps --json` shows each model's rung."
        yield Check("crashes", "warn", f"models of {known.of} are not loaded on the rungs {falls}", hint)


CHECKS: list[Callable[[Paths], Iterator[Check]]] = [
    versions, configuration, folders, state, models, room, libraries, special,
]  # fmt: skip


def main() -> None:
    paths = find_paths()
    for check in CHECKS:
        for finding in check(paths):
            say(finding._asdict())


if __name__ == "__main__":
    main()
