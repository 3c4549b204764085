"""Templates: YAML files that hold a prompt, a system prompt, parameters and any option of `ask`.

It reads, checks and writes them strictly; the hub fills in `{name}`.
"""

import errno
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from llmctl.config import check_name
from llmctl.errors import ConfigError, InvalidRequest, NotFound, Storage, nearest, short
from llmctl.files import write_whole
from llmctl.options import Options, given_options
from llmctl.paths import expanded
from llmctl.regular import read_regular
from llmctl.written import decode_text, misfit

Value = str | int | float | bool | None
MOST_BYTES = 2**20
"""YAML is read slowly, and a template of this size is a mistake."""


class Template(Options, kw_only=True, forbid_unknown_fields=True):
    """The content of a template file. `params` are the declared parameters: a list of names, or name -> default or null."""

    prompt: str | None = None
    params: dict[str, Value] | list[str] = msgspec.field(default_factory=dict)

    def declared(self) -> dict[str, str | None]:
        if isinstance(self.params, list):
            return dict.fromkeys(self.params)
        return {name: as_text(value) for name, value in self.params.items()}


def as_text(value: Any) -> str | None:
    """A YAML value as text for a prompt."""
    if value is None or isinstance(value, str):
        return value
    return msgspec.json.encode(value).decode()


def names(folder: Path) -> list[str]:
    return sorted(file.stem for file in folder.glob("*.yaml"))


def is_path(name: str) -> bool:
    """Whether a template is given by its path instead of its name in the folder."""
    return "/" in name or name.endswith((".yaml", ".yml"))


def find(folder: Path, name: str) -> Path:
    """The file of a template: a name in the folder, or a path. Raises NotFound with the nearest names."""
    if is_path(name):
        file = expanded(name)
        if file.exists() and not file.is_file():
            raise ConfigError(f"{name} is not a regular file", "Name a template file.")
        if not file.is_file():
            raise NotFound(f"there is no template file {name}")
        return file
    file = folder / f"{check_name('template', name)}.yaml"
    if file.exists() and not file.is_file():
        raise ConfigError(f"{file} is not a regular file", "Remove it, or replace it by a template file.")
    if not file.is_file():
        hint = (
            nearest(name, names(folder)) or f"There are no templates in {folder}; `llmctl ask --save NAME` creates one."
        )
        raise NotFound(f"there is no template {short(name)!r}", hint)
    return file


def load(folder: Path, name: str) -> Template:
    file = find(folder, name)
    return parse(read(file), str(file))


def read(file: Path) -> str:
    """Raises ConfigError."""
    try:
        return decode_text(read_regular(file, MOST_BYTES), str(file))
    except OSError as error:
        hint = "Put long texts into files that the template names with `file`." if error.errno == errno.EFBIG else None
        raise ConfigError(f"cannot read {file}: {error.strerror}", hint or "Check its permissions.") from error
    except InvalidRequest as error:
        raise ConfigError(error.message, error.hint) from error


def parse(text: str, source: str) -> Template:
    """Raises ConfigError that names the key and the file."""
    from llmctl.plain_yaml import read_yaml  # most commands read no template

    try:
        data = read_yaml(text)
    except ValueError as error:
        raise ConfigError(f"{source} is not valid YAML: {error}", "Correct the file.") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{source} is not a mapping of keys to values", "A template looks like `prompt: ...`.")
    known = {name.rstrip("_") for name in Template.__struct_fields__} - {"template"}
    keys = {str(key).replace("-", "_"): value for key, value in data.items()}
    for key in keys:
        if key not in known:
            raise ConfigError(f"{key}: unknown key (in {source})", nearest(key, known))
    try:
        template = msgspec.convert(keys, Template)
        given_options(template)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{misfit(str(error), keys)} (in {source})", "Correct the value.") from error
    return template


class Saved(NamedTuple):
    """A template that was written, and whether it replaced one."""

    file: Path
    replaced: bool

    def __str__(self) -> str:
        return f"{self.file}{', where it replaces the earlier one' if self.replaced else ''}"


def save(folder: Path, name: str, prompt: str | None, options: Options) -> Saved:
    """Writes a template from the options of `ask`; values of `param` become declared defaults."""
    import yaml

    keys = {key.rstrip("_"): value for key, value in given_options(options).items() if key not in ("template", "user")}
    params = keys.pop("param", {})
    data = {**({"prompt": prompt} if prompt is not None else {}), **keys, **({"params": params} if params else {})}
    text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
    file = folder / f"{check_name('template', name)}.yaml"
    parse(text, str(file))
    replaced = file.exists()
    write(file, text)
    return Saved(file, replaced)


def write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(file, text.encode(), sync=True)
    except OSError as error:
        raise Storage.unwritten(file, error) from error
