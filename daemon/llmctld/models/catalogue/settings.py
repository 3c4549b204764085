"""Model settings given with `--set`: conversion to types, and checks against the kind of model.

Reads the files that settings name (draft, template); does not know which models were added.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from llmctl.config import ModelSettings, Size, decode
from llmctl.errors import ConfigError, InvalidRequest, ModelUnavailable, nearest, short
from llmctld.models.catalogue.chat_template import read_template
from llmctld.models.catalogue.target import LLAMA, REMOTE, TRANSFORMERS, TargetType, check_whole, type_of

T = TypeVar("T")

MAKES = {"text": "text", "embedding": "embeddings"}
IN_JSON = {
    "adapters": '{"NAME": "/path/of/adapter.gguf"}',
    "prompts": '{"query": "search_query: "}',
    "tensor_split": "[3, 1]",
    "tags": '["code"]',
    "template_options": '{"NAME": "value"}',
}
"""Settings that are mappings or lists, with an example in shell syntax."""

LISTED = "The file that `llmctl config init` writes lists all settings of a model, under [models.NAME]."
OF_REMOTE = {"remote_model", "api_key_env", "retries", "idle_s", "takes_grammar"}
OF_ENGINES = {
    "retained", "threads", "gpu_layers", "device", "tensor_split", "kv_type", "flash_attention", "batch", "adapters",
    "speculation", "pooling", "draft", "dtype", "quantization", "trust", "template", "load_ms", "takes", "first_ms",
    "token_ms", "fail",
}  # fmt: skip
"""Settings for remote models only, and for local models only: whoever runs an endpoint chooses its engine's settings.
"""


def typed_settings(settings: dict[str, str]) -> dict[str, Any]:
    """`--set key=value` as typed values; mappings and lists are JSON. Raises InvalidRequest with key and value."""
    values: dict[str, Any] = dict(settings)
    for key, example in IN_JSON.items():
        try:
            if key in values:
                values[key] = msgspec.json.decode(values[key])
        except msgspec.DecodeError as error:
            kind = "list" if example.startswith("[") else "object"
            message = f"{key} is {values[key]!r}, which is not a JSON {kind} ({error})"
            raise InvalidRequest(message, f"--set '{key}={example}'") from error
    try:
        decoded = decode(ModelSettings, values, "KEY=VALUE", text=True)
    except ConfigError as error:
        raise InvalidRequest(error.message, LISTED) from error
    return {key: _plain(getattr(decoded, key)) for key in settings}


def _plain(value: Any) -> Any:
    """The value as JSON has it: durations and sizes are numbers."""
    return float(value) if isinstance(value, float) else int(value) if type(value) is Size else value


def checked_type(target: str, kind: str | None) -> TargetType:
    """The type of the target. Raises InvalidRequest if `kind` differs from what the target makes."""
    found = type_of(target)
    if found.backend == LLAMA:
        check_whole(Path(target))
    if kind in (None, found.kind):
        return found
    if found.backend != REMOTE or kind not in MAKES:
        raise InvalidRequest(
            f"{target} produces {MAKES[found.kind]}, not {MAKES.get(kind or '', kind)}", "Omit the kind."
        )
    return TargetType(REMOTE, kind)


def changed(settings: Mapping[str, Any], given: Mapping[str, Any], unset: Sequence[str]) -> dict[str, Any]:
    """The settings of a model with `given` instead of their values, and without `unset`.

    Raises InvalidRequest for a key that is no setting, and for one that is both given and unset.
    """
    for key in unset:
        if key not in ModelSettings.__struct_fields__:
            raise InvalidRequest(f"{short(key)}: unknown key", nearest(key, ModelSettings.__struct_fields__))
        if key in given:
            raise InvalidRequest(f"{key} is both set and unset", "Omit one of them.")
    return {key: value for key, value in {**settings, **given}.items() if key not in unset}


def check_settings(given: Mapping[str, Any], backend: str) -> None:
    """Raises InvalidRequest for a setting that would have no effect."""
    wrong = sorted(given.keys() & (OF_ENGINES if backend == REMOTE else OF_REMOTE))
    if wrong:
        what = "a remote model" if backend == REMOTE else "a model that runs here"
        raise InvalidRequest(f"{what} has no setting {', '.join(wrong)}", "Omit it.")


def check_files(given: Mapping[str, Any], of: TargetType, target: str) -> None:
    """Checks the files that settings name. Raises InvalidRequest and ModelUnavailable."""
    if (draft := given.get("draft")) is not None:
        check_draft(draft, of, target)
    if (template := given.get("template")) is not None:
        check_template(template, of, target)


def check_draft(draft: str, of: TargetType, target: str) -> None:
    """Raises InvalidRequest for a model that supports no draft, ModelUnavailable if the draft does not generate text."""
    if of != (LLAMA, "text"):
        raise InvalidRequest(f"{target} supports no `draft`: it is not a GGUF file that generates text", "Omit it.")
    if read_draft(draft, target, lambda file: checked_type(str(file), None)) != of:
        hint = "Set `draft` to another file, or omit it."
        raise ModelUnavailable(f"{target} cannot use the draft {draft}, which does not generate text", hint)


def check_template(template: str, of: TargetType, target: str) -> None:
    """Raises InvalidRequest for a model without chat messages, ModelUnavailable if the file is not a text."""
    if of not in ((LLAMA, "text"), (TRANSFORMERS, "text")):
        message = f"{target} supports no `template`: it is neither a GGUF file nor a folder that generates text"
        raise InvalidRequest(message, "Omit it.")
    read_template(template)


def read_draft(draft: str, target: str, look: Callable[[Path], T]) -> T:
    """Calls `look` with the draft's path. Raises ModelUnavailable that names both files."""
    try:
        return look(Path(draft))
    except ModelUnavailable as error:
        hint = "Set `draft` to another file, or omit it."
        raise ModelUnavailable(f"{target} cannot use the draft {draft}: {error.message}", hint) from error
