"""What a GGUF file answers through llmctl itself: a hub in an empty folder, its engine, the Python client.

It knows the command line and the client; a user sees the same answers.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from llmctl import Client

LLMCTL = Path(sys.executable).with_name("llmctl")
NAME = "measured"
"""Not `guide`, whose refusals are errors: here they are texts."""


@contextmanager
def hub() -> Iterator[None]:
    """A hub of its own for this process and its children; it ends with the block."""
    before = os.environ.get("LLMCTL_HOME")
    with tempfile.TemporaryDirectory(prefix="lcg") as home:
        os.environ["LLMCTL_HOME"] = home
        try:
            yield
        finally:
            subprocess.run([LLMCTL, "daemon", "stop", "-q"], check=False)
            os.environ.pop("LLMCTL_HOME")
            if before is not None:
                os.environ["LLMCTL_HOME"] = before


def answers(file: Path, questions: Sequence[str], name: str = NAME) -> list[str]:
    """The answer to each question. Inside `hub()`."""
    settings = ["--set", "threads=1", "--set", "speculation=off", "--set", "device=cpu"]
    subprocess.run(
        [LLMCTL, "models", "add", name, file, "--force", "-q", *settings], check=True, stdout=subprocess.DEVNULL
    )
    with Client() as client:
        return [client.ask(text, model=name, temperature=0, no_cache=True).text for text in questions]
