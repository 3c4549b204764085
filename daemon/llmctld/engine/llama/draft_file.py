"""The file of a draft model, read beside the model that it drafts for: how it is loaded, and whether it fits that one.

It knows files, vocabularies and words for what is wrong with them; what is drafted with it is draft_model.py's.
"""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from llmctld.engine.errors import LoadError
from llmctld.engine.fit import CELLS
from llmctld.engine.llama.vocabulary import Vocabulary
from llmctld.engine.messages import Load

M = TypeVar("M")
OTHER = "Give the path of another file as the model's `draft`, or leave that setting out."


def load_of(load: Load) -> Load:
    """How the draft of a model is loaded: in the least shape, until that model's own is known."""
    return msgspec.structs.replace(
        load, name="the draft", path=load.draft, draft="", context=CELLS, slots=1, retained=0, kv_type="f16",
        flash_attention=False if load.flash_attention is False else None, speculation="off", speaks=False,
    )  # fmt: skip


def read(load: Load, make: Callable[[Load], M]) -> M | None:
    """The draft model, where one is wanted. Raises LoadError that names both files."""
    if not load.draft or load.speculation == "off":
        return None
    try:
        return make(load_of(load))
    except LoadError as error:
        raise _refused(load, error.message) from error


def check(load: Load, words: Vocabulary, drafts: Vocabulary) -> None:
    """Raises LoadError that names the first difference of the two vocabularies: a token must mean the same in both."""
    if difference := words.difference(drafts):
        raise _refused(load, f"its vocabulary is another: {difference}")


def unusable(load: Load, model_reuses: bool) -> str:
    """The notice that there are no drafts, of which of the two files is the cause."""
    cause = load.draft if model_reuses else load.path
    return f"{load.name}: no drafts, because {cause} has a recurrent state, which cannot take back what was computed"


def _refused(load: Load, why: str) -> LoadError:
    return LoadError(f"{load.name}: {load.path} cannot have the draft {load.draft}: {why}", OTHER)
