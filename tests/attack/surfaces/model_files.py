"""Model files of all kinds with mistakes: refused, or their engine ends, with words; the hub goes on and the next model answers.

GGUF models, adapters and draft models, and transformers folders; and what is reported to have crashed llama.cpp.
"""

from functools import partial
from pathlib import Path

from tests import tiny_gguf
from tests.attack.attack import Attack, Trial
from tests.e2e.house import house
from tests.mutants.play import fed
from tests.mutants.reported import REPORTS

FOLDERS = ("safetensors", "tokenizer")


def feed(kind: str, trial: Trial) -> None:
    """In `make test` one folder of several is loaded: that takes torch, and seconds."""
    with house() as home:
        good: Path = home.home / "good.gguf"
        tiny_gguf.write(good, context=256)
        home.ok("models", "add", "tiny", good)
        fed(home, "model_files", kind, trial, "15" if kind in FOLDERS and not trial.timed else "1")


ATTACKS = [
    Attack("reported crashes", len(REPORTS), partial(feed, "reported"), at_least=len(REPORTS)),
    *(Attack(f"{kind} mutants", 300, partial(feed, kind)) for kind in ("gguf", "adapter", "draft", *FOLDERS)),
]
