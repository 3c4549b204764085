"""`daemon doctor`: runs the checks in a process of their own and prints the findings."""

import sys

import msgspec

from llmctl.cli.console import out
from llmctl.errors import Unreachable
from llmctl.interpreter import apart, module
from llmctl.paths import find_paths
from llmctl.view.daemon import finding


class Finding(msgspec.Struct):
    """A line of `python -m llmctld.doctor`; `state` is "ok", "warn" or "fail"."""

    check: str
    state: str
    detail: str = ""
    hint: str = ""


def examine() -> bool:
    """Prints the findings as they arrive. Returns whether no check failed."""
    find_paths()  # raises if the folders cannot be determined
    healthy = True
    with apart(module("llmctld.doctor")) as doctor:
        assert doctor.stdout is not None
        for line in doctor.stdout:
            healthy &= _show(line)
    if doctor.returncode not in (0, Unreachable.status):
        raise Unreachable(f"the check exited with status {doctor.returncode}", "Its output is shown above.")
    return healthy


def _show(line: bytes) -> bool:
    try:
        found = msgspec.json.decode(line, type=Finding)
    except msgspec.DecodeError:
        out.aside(out.shown(line.decode(errors="replace"), sys.stderr))
        return True
    if out.Mode.json:
        out.json_line(found)
    else:
        out.line(finding(found.check, found.state, found.detail, found.hint))
    return found.state != "fail"
