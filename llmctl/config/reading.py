"""Reads the settings: defaults, then the TOML file, then variables LLMCTL_SECTION__KEY.

An unknown key is an error that names the key and the file. The user's file is only read.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

import msgspec

from llmctl.config.settings import DEVICES, SEARCH, Config, ModelSettings, Section
from llmctl.config.units import Duration, KeepAlive, Size, parse_duration, parse_keep_alive, parse_size
from llmctl.errors import ConfigError, nearest
from llmctl.misfits import misfit_of
from llmctl.regular import json_as, read_regular

S = TypeVar("S", bound=Section)


def _decode_unit(kind: type, value: Any) -> Any:
    if kind is Duration:
        return parse_duration(value)
    if kind is KeepAlive:
        return parse_keep_alive(value)
    if kind is Size:
        return parse_size(value)
    raise TypeError(f"{kind} has no unit")


def decode(kind: type[S], values: Mapping[str, Any], source: str, *, text: bool = False) -> S:
    """`values` as a section. `text`: every value is a string, as in the environment.

    Raises ConfigError that names the key and the source.
    """
    if kind is Config:
        values = _with_search(values)
    try:
        return msgspec.convert(values, kind, strict=not text, dec_hook=_decode_unit)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error), kind, values, source, text)) from error


def _with_search(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """`models.search` as a key of its own, if it is no table."""
    models = values.get("models")
    if not isinstance(models, dict) or "search" not in models or isinstance(models["search"], dict):
        return values
    rest = {name: settings for name, settings in models.items() if name != "search"}
    return {**values, "models": rest, SEARCH: models["search"]}


def _explain(message: str, kind: type[Section], values: Mapping[str, Any], source: str, text: bool) -> str:
    """The mistake with the dotted key first: `cache.ttl: ... (in FILE)`."""
    found = misfit_of(message)
    key, what = found.field.replace("[...]", ".*"), found.words
    if kind is Config and key.startswith("models.*"):
        return _explain_model(values["models"], source, text)
    if found.is_enum:
        place, _, field = key.rpartition(".")
        what += f", which must be one of {', '.join(_words(get_type_hints(_section(kind, place))[field]))}"
    elif found.pattern == DEVICES:
        what = "no such device; possible: auto, cpu, cuda, mps, vulkan, xpu, or one with a number, such as cuda:1"
    elif what.startswith("Invalid decimal"):
        what = f"{_value(values, key)!r} is not a number"
    elif found.unknown:
        section = _section(kind, key)
        key = f"{key}.{found.unknown}".lstrip(".")
        what = f"unknown key. {nearest(found.unknown, section.__struct_fields__)}"
    elif found.kinds and key and not key.startswith(SEARCH):
        from llmctl.written import misfit  # only a mistake needs it

        return f"{misfit(message, values)} (in {source})"
    return f"{key or 'the file'}: {what} (in {source})"


def _explain_model(models: Mapping[str, Any], source: str, text: bool) -> str:
    """Names the model as well, which msgspec does not."""
    for name, settings in models.items():
        if not isinstance(settings, dict):
            return f"models.{name} is {settings!r}; it must be a section [models.{name}] with settings (in {source})"
        try:
            decode(ModelSettings, settings, source, text=text)
        except ConfigError as error:
            return f"models.{name}.{error.message}"
    raise AssertionError("each model decodes by itself")


def _value(values: Mapping[str, Any], key: str) -> Any:
    """The value of a dotted key."""
    found: Any = values
    for part in key.split("."):
        found = found[part]
    return found


def _words(kind: Any) -> list[str]:
    """The values of a Literal, also within a union."""
    found: list[str] = []
    for part in get_args(kind):
        found += [part] if isinstance(part, str) else _words(part)
    return found


def _section(kind: type[Section], key: str) -> type[Section]:
    """The section that a dotted key leads to; `models.*` leads to ModelSettings."""
    for part in filter(None, key.split(".")):
        if part == "*" or part not in kind.__struct_fields__:
            return ModelSettings
        default = getattr(kind(), part)
        kind = type(default) if isinstance(default, Section) else ModelSettings
    return kind


def read_file(path: Path) -> dict[str, Any]:
    """The content of the TOML file, {} if there is none. Raises ConfigError if it cannot be read."""
    try:
        data = read_regular(path)
    except (FileNotFoundError, NotADirectoryError):  # a file in place of a folder is told by who needs the folder
        return {}
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    import tomli

    try:
        return tomli.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # no UTF-8, no TOML, a number of 5,000 digits
        raise ConfigError(f"cannot read {path}: {error}") from error


def from_environment(environ: Mapping[str, str]) -> dict[str, tuple[str, Any]]:
    """{dotted key: (variable, value)} of each LLMCTL_SECTION__KEY. A list or a mapping is written as JSON."""
    found: dict[str, tuple[str, Any]] = {}
    for name, value in environ.items():
        if name.startswith("LLMCTL_") and "__" in name:
            try:
                parsed = json_as(value.encode(), object) if value[:1] + value[-1:] in ("[]", "{}") else value
            except ValueError as error:
                raise ConfigError(f"the variable {name} is not a list or object in JSON: {error}") from error
            found[name.removeprefix("LLMCTL_").lower().replace("__", ".")] = (name, parsed)
    return found


def load(path: Path, environ: Mapping[str, str] = os.environ) -> Config:
    """Defaults, overridden by the file, overridden by the environment. Raises ConfigError that names the key and its source."""
    if environ.get("LLMCTL_CONFIG") and not path.exists():
        raise ConfigError(f"LLMCTL_CONFIG names {path}, which does not exist", "`llmctl config init` creates it.")
    values = read_file(path)
    config = decode(Config, values, str(path)) if values else Config()
    for key, (variable, value) in from_environment(environ).items():
        nested: Any = value
        for part in reversed(key.split(".")):
            nested = {part: nested}
        decode(Config, nested, f"the variable {variable}", text=True)
        values = _merge(values, nested)
        config = decode(Config, values, f"{path} with {variable}", text=True)
    return config


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        merged[key] = _merge(merged.get(key, {}), value) if isinstance(value, dict) else value
    return merged


def exposed(file: Path, config: Config) -> str | None:
    """Words about a configuration file that holds a password and that other users can read, or None."""
    url = config.cache.shared_url or ""
    if "@" not in url and "password=" not in url:
        return None
    try:
        mode = file.stat().st_mode & 0o777
        if not any(_can_reach(file, bit) for bit in (0o040, 0o004)) or url.encode() not in file.read_bytes():
            return None
    except OSError:
        return None
    return f"{file} holds a password, and other users can read it (mode {mode:o}); `chmod 600 {file}` keeps them out"


def _can_reach(file: Path, bit: int) -> bool:
    """Whether the group (0o040) or everybody (0o004) may read the file and enter the folders above it."""
    return bool(file.stat().st_mode & bit) and all(folder.stat().st_mode & (bit >> 2) for folder in file.parents)
