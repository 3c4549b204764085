"""Output of a process whose stdout a command reads: a line of JSON for each thing."""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any


def say(line: Mapping[str, Any]) -> None:
    """Prints the line at once. Ends the process with status 0 if nobody reads it any more."""
    try:
        print(json.dumps(line), flush=True)  # noqa: T201 - this is its output
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the interpreter writes what is left when it ends
        sys.exit(0)
