"""For all tests: what they may not depend on, which is time and how they were started.

A slow machine is no bug, so no example of hypothesis has a deadline; and the same tree gets the same verdict each time:
`make test` draws the same examples, `make stress` others in each run. What nohup and background jobs ignore, commands that
they start would ignore too, as they should: here every signal means what it means in a terminal.

An engine decides by what steps take: what is copied and kept, and whether drafts pay. In tests a step takes what it is said
to, in every engine that they start, so that no other program on the machine changes what is cached.
"""

import atexit
import gc
import os
import signal
import warnings
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from llmctl import secret
from tests.stress.scale import FULL

settings.register_profile("llmctl", deadline=None, derandomize=not FULL, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("llmctl")

os.environ["LLMCTL_ENGINE_STEP_MS"] = "8 2"

signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)

# llama_cpp opens /dev/null twice when it is imported and never closes it, which the interpreter would report at its end
atexit.register(warnings.filterwarnings, "ignore", "unclosed file .*/dev/null", ResourceWarning)


def pytest_collection_finish() -> None:
    """The thousands of tests stay to the end: the garbage collector need not look at them hundreds of times."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def forgotten() -> Iterator[None]:
    """What one test gave as a secret is an ordinary word in the next."""
    known = set(secret._known)
    yield
    secret._known.intersection_update(known)
