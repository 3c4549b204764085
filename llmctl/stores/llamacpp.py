"""llama.cpp's cache: what `-hf`, `-mu` and `-dr` downloaded.

Source: llama.cpp, common/common.cpp (fs_get_cache_directory) and common/hf-cache.cpp. Until 2025 `-hf` wrote
OWNER_NAME_FILE.gguf into one folder, beside manifest=OWNER=NAME=TAG.json; since then it uses the layout of the Hugging Face
cache, in LLAMA_CACHE if that is set, else in that cache itself. A download in progress ends in .downloadInProgress.
"""

from collections.abc import Iterator
from pathlib import Path

from llmctl.stores import huggingface
from llmctl.stores.stored import Home, Say, StoredModel
from llmctl.stores.walk import models_below, name_of

PROGRAM = "llama.cpp"


def stored(home: Home, say: Say) -> Iterator[StoredModel]:
    folder = Path(home.environ.get("LLAMA_CACHE") or home.cache / "llama.cpp")
    yield from huggingface.repositories(PROGRAM, folder, say)
    for path in models_below(folder, say):
        if not path.relative_to(folder).parts[0].startswith(huggingface.PREFIX):
            yield StoredModel(PROGRAM, name_of(path), path)
