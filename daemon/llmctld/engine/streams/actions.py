"""What the scheduler asks to be done to the KV memory, as values: kv.py carries them out."""

from dataclasses import dataclass

from llmctld.engine.streams.radix import Tokens
from llmctld.engine.streams.sequence import Sequence


@dataclass(frozen=True)
class Save:
    """Save the state of `stream`, which holds `tokens`. `lasting`: to a file when memory is full.

    `cut`: the stream holds more, and is cut to these first.
    """

    stream: int
    tokens: Tokens
    lasting: bool
    cut: bool = False


@dataclass(frozen=True)
class Copy:
    """Replace the content of `target` with that of `source`."""

    source: int
    target: int


@dataclass(frozen=True)
class Restore:
    """Load the saved state `entry`, which starts with `tokens`, into `stream` for `sequence`."""

    stream: int
    entry: int
    tokens: Tokens
    sequence: Sequence


@dataclass(frozen=True)
class Cut:
    """Cut `stream`, in which `sequence` begins, to its first `keep` tokens."""

    stream: int
    keep: int
    sequence: Sequence


Action = Save | Copy | Restore | Cut
