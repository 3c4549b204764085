"""`llmctl models`: what exists and what is loaded.

Adding, loading and removing are the hub's work; this asks for it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from typer import Argument, Option

from llmctl.cli import flags, out
from llmctl.errors import ModelUnavailable, nearest

if TYPE_CHECKING:
    from llmctl.config import ModelEntry

app = flags.group("Add, load and list models.")

Name = Annotated[str, Argument(help="Name or alias of a model.", metavar="NAME")]


@app.command("ls")
def ls(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """List the models, the default one first."""
    from llmctl.cli.show import show
    from llmctl.config import read_models
    from llmctl.view import models

    entries = list(read_models(flags.places().models, out.notice).values())
    default = _default(entries)
    loaded = _loaded()
    if not entries and not json:
        out.notice("no model has been added; `llmctl models add NAME FILE.gguf` adds one")
    if not json:
        show(models.models(entries, loaded))
        return
    for entry in entries:
        out.json_line(models.as_json(entry, loaded.get(entry.name), entry.name == default))


def _default(entries: "Sequence[ModelEntry]") -> str | None:
    """The name of the model that answers when none is named: the configured one, else the oldest."""
    wanted = flags.settings().defaults.model
    if wanted is None:
        return next((entry.name for entry in entries if entry.kind == "text"), None)
    return next((entry.name for entry in entries if wanted in (entry.name, *entry.aliases)), None)


def _loaded() -> dict[str, str]:
    return {engine.name: engine.state for engine in flags.engines() or ()}


def _find(name: str) -> "tuple[ModelEntry, dict[str, ModelEntry]]":
    """The model of that name or alias, and all there are. Raises ModelUnavailable."""
    from llmctl.config import read_models

    entries = read_models(flags.places().models, out.notice)
    found = next((entry for entry in entries.values() if name in (entry.name, *entry.aliases)), None)
    if found is None:
        known = [known for entry in entries.values() for known in (entry.name, *entry.aliases)]
        raise ModelUnavailable(f"there is no model {name!r}", nearest(name, known) or None)
    return found, entries


@app.command("show")
def show_one(name: Name, json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Show one model."""
    from llmctl.cli.show import show
    from llmctl.view import models

    found, entries = _find(name)
    state = _loaded().get(found.name)
    if json:
        out.json_line(models.as_json(found, state, found.name == _default(list(entries.values()))))
    else:
        show(models.one(found, state))


@app.command("add")
def add(
    name: Annotated[str, Argument(help="What the model shall be called.")],
    target: Annotated[str, Argument(help="FILE.gguf, a sentence-transformers FOLDER, or echo.")],
    alias: Annotated[list[str] | None, Option(help="Another name for it.")] = None,
    set: Annotated[list[str] | None, Option("--set", help="A setting of this model.", metavar="KEY=VALUE")] = None,
    force: Annotated[bool, Option("--force", help="Replace a model of this name.")] = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Make a model known. The file stays where it is."""
    from llmctl import wire

    settings = flags.pairs("--set", set or ())
    if "draft" in settings:  # the hub stands in another folder
        settings["draft"] = flags.absolute(settings["draft"])
    request = wire.AddModel(
        name=name,
        target=target if target == "echo" else flags.absolute(target),
        aliases=alias or [],
        settings=settings,
        force=force,
    )
    with flags.connect() as client:
        model = client.call(request)
    if json:
        out.json_line(model)
    else:
        use = "embed" if isinstance(model, wire.Model) and model.kind == "embedding" else "ask"
        out.notice(f"model {name} is added; `llmctl {use} -m {name} ...` uses it")


@app.command("rm")
def rm(name: Name, yes: flags.Yes = False, json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Forget a model and unload it. A file of yours is never deleted."""
    from llmctl import wire

    _find(name)
    flags.confirm(yes, [f"model {name}"])
    with flags.connect() as client:
        client.call(wire.RemoveModel(name=name))
    if json:
        out.json_line({"removed": name})


@app.command("load")
def load(name: Name, json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Load a model now, so that the first question does not wait for it."""
    from llmctl import wire
    from llmctl.cli.show import show
    from llmctl.view import models

    with flags.connect() as client:
        result = client.call(wire.LoadModel(name=name))
    engines = result.engines if isinstance(result, wire.Engines) else []
    if json:
        for engine in engines:
            out.json_line(engine)
    else:
        show(models.engines(engines))


@app.command("unload")
def unload(name: Name, json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """End a model's engine and give its memory back."""
    from llmctl import wire

    if flags.look(wire.UnloadModel(name=name)) is None:
        raise ModelUnavailable(f"model {name!r} is not loaded: the hub is not running", "")
    if json:
        out.json_line({"unloaded": name})
