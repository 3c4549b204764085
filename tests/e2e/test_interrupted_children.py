"""Ctrl-C in a terminal during a command that works in a process of its own: nothing but the status, and nothing left running."""

import os
import signal
import subprocess
from collections.abc import Callable

import psutil
import pytest

from tests.e2e.house import LLMCTL, PATIENCE_S, House, gone

HELD = """import sys
if any("llmctld.doctor" in word for word in sys.orig_argv):
    import signal
    import llmctld.runtime.lines as lines
    said = lines.say
    def say(line):
        said(line)
        signal.pause()
    lines.say = say
"""
"""The checks stop after the first finding."""


def interrupted(
    house: House, arguments: list[str], begun: Callable[[subprocess.Popen[bytes]], object]
) -> list[psutil.Process]:
    """Interrupts the whole group of processes, as a terminal does, once the command has begun; the children it had."""
    with subprocess.Popen(
        [str(LLMCTL), *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=house.environ(),
        cwd=house.home, start_new_session=True,
    ) as command:  # fmt: skip
        begun(command)
        children = psutil.Process(command.pid).children(recursive=True)
        assert all(os.getpgid(child.pid) != command.pid for child in children), "Ctrl-C would reach them too"
        os.killpg(command.pid, signal.SIGINT)
        out, err = command.communicate(timeout=PATIENCE_S)
    assert (command.returncode, err) == (130, b""), (out, err)
    return children


def first_byte(command: subprocess.Popen[bytes]) -> None:
    assert command.stdout is not None
    command.stdout.read(1)


def child_runs(command: subprocess.Popen[bytes]) -> None:
    """The child has taken what was fed, which is more than a pipe holds, and waits for the rest."""
    assert command.stdin is not None
    command.stdin.write(b'{"key": "a"}\n' * 100_000)
    command.stdin.flush()


@pytest.mark.parametrize(
    ("arguments", "begun"),
    [(["daemon", "doctor"], first_byte), (["cache", "replay", "-"], child_runs)],
    ids=["doctor", "replay"],
)
def test_ctrl_c_ends_quietly(
    house: House, arguments: list[str], begun: Callable[[subprocess.Popen[bytes]], object]
) -> None:
    (house.home / "sitecustomize.py").write_text(HELD)
    house.variables["PYTHONPATH"] = str(house.home)
    children = interrupted(house, arguments, begun)
    assert children
    assert gone(children)
