"""Loads the file of a draft model beside its main model, and checks that the two fit.

core/draft_model.py drafts with it.
"""

from collections.abc import Callable
from typing import TypeVar

import msgspec

from llmctld.engine.errors import LoadError
from llmctld.engine.fit import CELLS
from llmctld.engine.llama.vocabulary import Vocabulary
from llmctld.engine.messages import Load

M = TypeVar("M")
OTHER = "Set `draft` to another file, or remove the setting."


def load_of(load: Load) -> Load:
    """Load settings of the draft: the smallest shape, until the main model's shape is known."""
    return msgspec.structs.replace(
        load, name="the draft", path=load.draft, draft="", context=CELLS, slots=1, retained=0, kv_type="f16",
        flash_attention=False if load.flash_attention is False else None, speculation="off", speaks=False,
    )  # fmt: skip


def read(load: Load, make: Callable[[Load], M]) -> M | None:
    """The draft model, if one is set. Raises LoadError that names both files."""
    if not load.draft or load.speculation == "off":
        return None
    try:
        return make(load_of(load))
    except LoadError as error:
        raise _refused(load, error.message) from error


def check(load: Load, words: Vocabulary, drafts: Vocabulary) -> None:
    """Raises LoadError with the first difference of the two vocabularies: a token must mean the same in both."""
    if difference := words.difference(drafts):
        raise _refused(load, f"its vocabulary differs: {difference}")


def unusable(load: Load, model_reuses: bool) -> str:
    """Notice that there are no drafts, and which of the two files is the cause."""
    cause = load.draft if model_reuses else load.path
    return f"{load.name}: no drafts, because {cause} has a recurrent state, which cannot be rolled back"


def _refused(load: Load, why: str) -> LoadError:
    return LoadError(f"{load.name}: {load.path} cannot use the draft {load.draft}: {why}", OTHER)
