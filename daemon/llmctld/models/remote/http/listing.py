"""Which models an endpoint says that it has, in any of the forms in which servers say it.

It knows no connection.
"""

from typing import Any, NamedTuple

from llmctl.errors import EngineFailed
from llmctld.models.remote.http import refusal
from llmctld.models.remote.http.breaker import AttemptFailed
from llmctld.models.remote.http.lenient_json import count, mapping, whole


class Listed(NamedTuple):
    """A model that an endpoint names, and the longest prompt and answer together in tokens, where it says so: else 0."""

    id: str
    context: int = 0


def read_list(found: Any, who: str) -> list[Listed]:
    """The models in a list, or in an object that holds one, by whichever names. Raises AttemptFailed for anything else."""
    if isinstance(found, dict):
        found = found.get("data") or found.get("models") or []
    if not isinstance(found, list):
        message = f"{who} answers with something that is no list of models"
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
    return None if not isinstance(named, str | int) else Listed(whole(str(named)), context)
