"""Model files of all kinds with mistakes: refused, or their engine ends, with words; the hub goes on and the next model answers.

GGUF models, adapters and draft models, and transformers folders; and what is reported to have crashed llama.cpp.
"""

from functools import partial

from tests.attack.attack import Attack, Trial
from tests.mutants.play import fed, shared
from tests.mutants.reported import REPORTS

FOLDERS = ("safetensors", "tokenizer")


def feed(kind: str, trial: Trial) -> None:
    """In `make test` few are loaded, and no folder: that takes torch, and seconds."""
    asked = "1" if trial.timed else "0" if kind in FOLDERS else "8"
    fed(shared(), "model_files", kind, trial, asked)


ATTACKS = [
    Attack("reported crashes", len(REPORTS), partial(feed, "reported"), at_least=3),
    *(Attack(f"{kind} mutants", 300, partial(feed, kind)) for kind in ("gguf", "adapter", "draft", *FOLDERS)),
]
