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
    """In `make test` few are loaded, and no folder: that takes torch, and seconds."""
    with house() as home:
        good: Path = home.home / "good.gguf"
        tiny_gguf.write(good, context=256)
        for name in ("tiny", "other"):
            home.ok("models", "add", name, good)
        fed(home, "model_files", kind, trial, "1" if trial.timed else "0" if kind in FOLDERS else "5")


ATTACKS = [
    Attack("reported crashes", len(REPORTS), partial(feed, "reported"), at_least=5),
    *(Attack(f"{kind} mutants", 300, partial(feed, kind)) for kind in ("gguf", "adapter", "draft", *FOLDERS)),
]
