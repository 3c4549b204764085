"""Which Pythons are here: of PATH, of pyenv and of uv, the newest release of each version that the package supports.

It starts none of them but to ask what it is.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

VERSIONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
ASKED = "import sys; v = sys.version_info; print(*v[:3], v[3], sys.implementation.name, sys.executable, sep='|')"


class Python(NamedTuple):
    release: tuple[int, ...]
    path: Path
    """Where it truly lies; pyenv's shims lead to one that a variable names."""


def here() -> dict[str, Path]:
    """Version -> interpreter."""
    found: dict[str, Python] = {}
    for candidate in _candidates():
        python = _ask(candidate)
        name = ".".join(map(str, python.release[:2])) if python else ""
        if python and name in VERSIONS and (name not in found or python.release > found[name].release):
            found[name] = python
    return {name: found[name].path for name in VERSIONS if name in found}


def chosen(names: list[str]) -> dict[str, Path]:
    """Those of them that are here; `newest` is one of the names. None named: all."""
    all_ = here()
    wanted = {list(all_)[-1] if name == "newest" and all_ else name for name in names or all_}
    return {name: path for name, path in all_.items() if name in wanted}


def _candidates() -> Iterator[Path]:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share")
    uv = Path(os.environ.get("UV_PYTHON_INSTALL_DIR") or data / "uv/python")
    for version in VERSIONS:
        on_path = shutil.which(f"python{version}")
        yield from [Path(on_path)] if on_path else []
        yield from pyenv.glob(f"versions/{version}.*/bin/python")
        yield from uv.glob(f"cpython-{version}.*/bin/python{version}")


def _ask(path: Path) -> Python | None:
    """None for what is no Python that is released: a shim of pyenv without its Python ends with 127."""
    done = subprocess.run([path, "-c", ASKED], capture_output=True, text=True, check=False, timeout=60)
    *release, level, kind, true = done.stdout.strip().split("|") if done.returncode == 0 else ["", "", ""]
    return Python(tuple(map(int, release)), Path(true)) if (level, kind) == ("final", "cpython") else None
