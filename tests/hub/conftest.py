"""For all tests of the hub's rooms."""

import os
from contextlib import suppress

import psutil
import pytest
from llmctld.models.engines import ticket
from llmctld.pipeline.compute import generate

from tests.hub import scene
from tests.hub.scene import LIMIT_S


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled request hears the engine's last word, also where an engine is given no processor for a while."""
    monkeypatch.setattr(ticket, "DROP_WAIT_S", LIMIT_S / 2)
    monkeypatch.setattr(generate, "CONFIRM_S", LIMIT_S / 2)


@pytest.fixture(autouse=True)
def reaped() -> None:
    """Other tests of this process leave hubs that have ended, and models whose templates have a process: only those that come
    now are counted.
    """
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess, ChildProcessError):  # another thread of this process has waited for it
            if child.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(child.pid, 0)
    scene.others = set(psutil.Process().children())
