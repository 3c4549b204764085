"""`llmctl config`: the settings and where they come from. Only `init` writes the user's file."""

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from llmctl import config as configuration
from llmctl.cli.console import flags, out
from llmctl.errors import ConfigError, NotFound, Storage, Usage, nearest, short
from llmctl.files import write_whole
from llmctl.guide import NAME as GUIDE

if TYPE_CHECKING:
    from llmctl.view.config import Setting

app = flags.group("Show, check and create the configuration.")


@app.command("show")
def show(
    key: Annotated[
        str | None, Argument(metavar="[KEY]", help="Only this setting or section: defaults.model, cache, models.NAME.")
    ] = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Show the settings in effect, and where each comes from."""
    from llmctl.view import config as view

    file = flags.paths().config_file
    config = configuration.load(file)
    settings = list(effective(config, file))
    if key is not None:
        settings = _selected(settings, key)
    if not json:
        out.text(view.lines(settings))
        return
    for setting in settings:
        out.json_line({"key": setting.key, "value": value_of(config, setting.key), "source": setting.source})


def _selected(settings: "list[Setting]", key: str) -> "list[Setting]":
    """The settings of this key, or of the section of this name. Raises NotFound."""
    found = [setting for setting in settings if f"{setting.key}.".startswith(f"{key}.")]
    if not found:
        hint = nearest(key, [setting.key for setting in settings]) or "`llmctl config show` lists all settings."
        raise NotFound(f"no setting {short(key)!r} is in effect", hint)
    return found


def effective(config: configuration.Config, file: Path) -> "Iterator[Setting]":
    """A Setting for each key, and for each setting in a model's section."""
    from llmctl import example
    from llmctl.view.config import Setting

    written = set(_flat(configuration.read_file(file)))
    variables = configuration.from_environment(_environment())
    for key in _keys(config):
        source = "default"
        if key in written:
            source = str(file)
        if key in variables:
            source = variables[key][0]
        yield Setting(key, example.toml(_masked(_value(config, key))), source)


def _environment() -> dict[str, str]:
    import os

    return dict(os.environ)


def _keys(config: configuration.Config) -> Iterator[str]:
    for name, section in configuration.sections(config):
        yield from (f"{name}.{key}" for key in configuration.keys(section))
    for model, settings in config.models.items():
        for key in settings.__struct_fields__:
            if getattr(settings, key) is not None:
                yield f"models.{model}.{key}"
    yield configuration.SEARCH


def value_of(config: configuration.Config, key: str) -> Any:
    """The value of a dotted key; sizes and durations as numbers."""
    value = _value(config, key)
    if isinstance(value, configuration.Size):
        return int(value)
    return float(value) if isinstance(value, configuration.Duration) else value


def _value(config: configuration.Config, key: str) -> Any:
    """The value of a dotted key. A model's name may contain dots."""
    if key == configuration.SEARCH:
        return config.search
    section, _, name = key.rpartition(".")
    if section.startswith("models."):
        return getattr(config.models[section.removeprefix("models.")], name)
    return getattr(dict(configuration.sections(config))[section], name)


def _masked(value: Any) -> Any:
    """The value without the password of an address, since output is often shown to others."""
    return re.sub(r"(://[^/@:]*:).*@|(password=)[^&]*", _stars, value) if isinstance(value, str) else value


def _stars(found: re.Match[str]) -> str:
    return f"{found[1]}***@" if found[1] is not None else f"{found[2]}***"


def _flat(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"


@app.command("path")
def path(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Print the paths of the configuration, the history and the folders."""
    paths = flags.paths()
    found = {
        "config": paths.config_file,
        "templates": paths.templates,
        "models": paths.models,
        "pulled": paths.pulled,
        "history": paths.history,
        "state": paths.state,
        "cache": paths.cache,
        "logs": paths.logs,
        "run": paths.run,
    }
    if json:
        out.json_line({name: str(folder) for name, folder in found.items()})
    else:
        out.text("".join(f"{name:<10} {folder}\n" for name, folder in found.items()))


@app.command("check")
def check(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Check the configuration and print the first mistake.

    The exit status is 2 if there is one.
    """
    file = flags.paths().config_file
    config = configuration.load(file)
    known = configuration.read_models(flags.paths().models, out.notice)
    mistake = next(_mistakes(config.cache, known.values()), None)
    if mistake is not None:
        raise ConfigError(f"{mistake[0]} (in {file} or the environment)", mistake[1])
    if words := configuration.exposed(file, config):
        out.notice(words)
    for name in config.models:
        if name not in known and name != GUIDE:
            out.notice(f"models.{name}: there is no model of this name. {nearest(name, known)}".rstrip())
    if json:
        out.json_line({"file": str(file), "exists": file.exists(), "ok": True})
    else:
        out.line(f"{file} is correct" if file.exists() else f"{file} does not exist; the defaults apply")


def _mistakes(cache: configuration.Cache, models: Iterable[configuration.ModelEntry]) -> Iterator[tuple[str, str]]:
    """(message, hint) for each value that is valid by itself but refers to something that does not exist."""
    from llmctl import shared_url, wire

    for name in cache.scope:
        if name not in wire.Generate.__struct_fields__:
            yield f"cache.scope: {name!r} is not a field of a request", nearest(name, wire.Generate.__struct_fields__)
    wrong = None if cache.shared_url is None else shared_url.flaw(cache.shared_url)
    if wrong is not None:
        yield f"cache.shared_url {wrong}", "`llmctl config show` prints it without its password."
    semantic = cache.semantic
    kinds = {name: model.kind for model in models for name in (model.name, *model.aliases)}
    if semantic.judge not in (None, "", configuration.NO_JUDGE):
        yield from _misfit("judge", semantic.judge, "text", {configuration.NO_JUDGE: "text"} | kinds)
    if semantic.model is not None:
        yield from _misfit("model", semantic.model, "embedding", {configuration.BUILTIN: "embedding"} | kinds)


def _misfit(key: str, name: str, kind: str, kinds: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(message, hint) if `cache.semantic.KEY` names a missing or unsuitable model. `kinds`: name -> kind of model."""
    if name not in kinds:
        yield f"cache.semantic.{key}: there is no model {name!r}", nearest(name, kinds)
    elif kinds[name] != kind:
        fitting = ", ".join(known for known in kinds if kinds[known] == kind)
        yield (
            f"cache.semantic.{key}: the model {name} is of kind {kinds[name]}, and this setting needs kind {kind}",
            f"Possible: {fitting}.",
        )


@app.command("init")
def init(
    force: Annotated[bool, Option("--force", help="Replace an existing file.")] = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Write a configuration file that lists every setting, commented out."""
    from llmctl import example

    file = flags.paths().config_file
    if file.exists() and not force:
        raise Usage(f"{file} exists already", "--force replaces it.")
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_whole(file, example.text().encode(), sync=True)
    except OSError as error:
        raise Storage.unwritten(file, error) from error
    if json:
        out.json_line({"file": str(file)})
    else:
        out.notice(f"wrote {file}")
