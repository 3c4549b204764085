"""The models that were added: one JSON file each, which `models add` writes."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec

from llmctl.config.reading import decode
from llmctl.config.settings import ModelSettings
from llmctl.errors import ConfigError, InvalidRequest, ModelUnavailable, short
from llmctl.regular import read_json

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
Name = Annotated[str, msgspec.Meta(pattern=f"^{NAME.pattern}$")]
Backend = Annotated[str, msgspec.Meta(pattern=r"^(echo|llama\.cpp|remote|sentence-transformers|transformers)$")]
Made = Annotated[str, msgspec.Meta(pattern="^(text|embedding)$")]


def check_name(what: str, name: str) -> str:
    """Returns the name. Raises InvalidRequest if it cannot be a file name."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            f"{what} {short(name)!r} is not a name",
            "A name begins with a letter or digit and has at most 64 characters: letters, digits and . _ : -",
        )
    return name


class ModelEntry(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An added model. `added` is in seconds since 1970; the oldest is the default model."""

    name: Name
    target: str
    backend: Backend
    kind: Made = "text"
    """What it makes."""
    aliases: list[Name] = []
    settings: dict[str, Any] = {}
    added: float = 0.0
    pulled: str = ""
    """The repository its files were downloaded from; empty for the user's own files."""
    origin: str = ""
    """`ollama:NAME` for a file in the store of that program, which may replace or remove it."""


def _read(file: Path) -> ModelEntry:
    """Raises OSError, and ValueError for an entry that nobody could use: of another name, or with settings that are none."""
    entry = read_json(file, ModelEntry)
    if entry.name != file.stem:
        raise ValueError(f"its `name` is {entry.name!r}, and the file is called {file.name}")
    try:
        decode(ModelSettings, entry.settings, "`settings`")
    except ConfigError as error:
        raise ValueError(error.message) from error
    return entry


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def refuse_damaged(folder: Path, name: str) -> None:
    """Raises ModelUnavailable if there is a file for a model of this name that cannot be read."""
    file = folder / f"{name}.json"
    if not NAME.fullmatch(name):
        return
    try:
        _read(file)
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        again = (
            f"`llmctl models add {name} TARGET` writes it anew; a restored one is read after `llmctl daemon restart`."
        )
        raise ModelUnavailable(
            f"the file of the model {name} is damaged: cannot read {file}: {_reason(error)}", again
        ) from error


def read_models(folder: Path, broken: Callable[[str], None]) -> dict[str, ModelEntry]:
    """The added models by name, oldest first. `broken` is called with a message for each file that cannot be read."""
    entries = []
    for file in sorted(folder.glob("*.json")):
        try:
            entry = _read(file)
        except FileNotFoundError:
            continue  # removed between the listing and the reading
        except (OSError, ValueError) as error:
            broken(f"cannot read {file}: {_reason(error)}; correct it, or remove it and add the model again")
        else:
            entries.append(entry)
    return {entry.name: entry for entry in sorted(entries, key=lambda entry: (entry.added, entry.name))}
