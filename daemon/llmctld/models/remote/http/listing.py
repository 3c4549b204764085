"""Reads an endpoint's list of models, in any of the forms that servers use.

Opens no connection.
"""

from typing import Any, NamedTuple

from llmctl.errors import EngineFailed
from llmctld.models.remote.http import refusal
from llmctld.models.remote.http.breaker import AttemptFailed
from llmctld.models.remote.http.lenient_json import count, encodable, mapping


class Listed(NamedTuple):
    """A model that an endpoint lists. `context`: context length in tokens, 0 if not given."""

    id: str
    context: int = 0


def read_list(found: Any, who: str) -> list[Listed]:
    """The models in a list, or in an object that contains one. Raises AttemptFailed for anything else."""
    if isinstance(found, dict):
        found = found.get("data") or found.get("models") or []
    if not isinstance(found, list):
        message = f"{who} did not return a list of models"
        raise AttemptFailed(EngineFailed(message, refusal.ASK_AGAIN), again=False)
    read = [_listed({"id": each} if isinstance(each, str) else mapping(each)) for each in found]
    return [model for model in read if model is not None]


def _listed(model: dict[str, Any]) -> Listed | None:
    named = next((model[name] for name in ("id", "name", "model") if model.get(name)), None)
    meta = mapping(model.get("meta"))
    lengths = (
        model.get("max_model_len"),
        model.get("context_length"),
        model.get("max_context_length"),
        meta.get("n_ctx"),
    )
    context = next((length for each in lengths if (length := count(each))), 0)
    return None if not isinstance(named, str | int) else Listed(encodable(str(named)), context)
