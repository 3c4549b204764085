"""For all tests of the hub's rooms."""

import os

import psutil
import pytest


@pytest.fixture(autouse=True)
def reaped() -> None:
    """Other tests of this process leave hubs that have ended: here each child that is counted is an engine."""
    for child in psutil.Process().children():
        if child.status() == psutil.STATUS_ZOMBIE:
            os.waitpid(child.pid, 0)
