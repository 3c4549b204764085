"""`llmctl models`: what exists and what is loaded.

Adding, loading and removing are the hub's work; this asks for it.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from llmctl.cli.console import flags, out
from llmctl.cli.models.labels import Alias, Force, PriceCached, PriceIn, PriceOut, Set, Tag, Tier, labels
from llmctl.cli.models.pull import pull
from llmctl.errors import InvalidRequest, ModelUnavailable, nearest, short

if TYPE_CHECKING:
    from llmctl import wire
    from llmctl.config import ModelEntry
    from llmctl.hashes import Hashes

app = flags.group("Add, load and list models.")

Name = Annotated[str, Argument(help="Name or alias of a model.", metavar="NAME")]


@app.command("ls")
def ls(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """List the models, the default one first."""
    from llmctl.cli.console.show import show
    from llmctl.hashes import sha256_of
    from llmctl.view import models

    entries = list(_entries().values())
    default = _default(entries)
    loaded = _loaded()
    if not entries and not json:
        out.notice("no model has been added; `llmctl models add NAME FILE.gguf` adds one")
    if not json:
        show(models.models(entries, loaded))
        return
    hashes = _hashes()
    for entry in entries:
        sha256 = sha256_of(hashes, entry.target)
        out.json_line(models.as_json(entry, loaded.get(entry.name), entry.name == default, sha256))


def _default(entries: "Sequence[ModelEntry]") -> str | None:
    """The name of the model that answers when none is named: the configured one, else the oldest."""
    wanted = flags.settings().defaults.model
    if wanted is None:
        return next((entry.name for entry in entries if entry.kind == "text"), None)
    return next((entry.name for entry in entries if wanted in (entry.name, *entry.aliases)), None)


def _hashes() -> "Hashes":
    from llmctl.hashes import read_hashes

    return read_hashes(flags.places().hashes, out.notice)


def _loaded() -> dict[str, str]:
    return {engine.name: engine.state for engine in flags.engines() or ()}


def _entries() -> "dict[str, ModelEntry]":
    from llmctl.config import read_models

    return read_models(flags.places().models, out.notice)


def _find(name: str) -> "tuple[ModelEntry, dict[str, ModelEntry]]":
    """The model of that name or alias, and all there are. Raises ModelUnavailable."""
    entries = _entries()
    found = next((entry for entry in entries.values() if name in (entry.name, *entry.aliases)), None)
    if found is None:
        known = [known for entry in entries.values() for known in (entry.name, *entry.aliases)]
        raise ModelUnavailable(f"there is no model {short(name)!r}", nearest(name, known) or None)
    return found, entries


@app.command("show")
def show_one(name: Name, json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Show one model."""
    from llmctl.cli.console.show import show
    from llmctl.hashes import sha256_of
    from llmctl.view import models

    found, entries = _find(name)
    engine = next((engine for engine in flags.engines() or () if engine.name == found.name), None)
    state, rung = (engine.state, engine.rung) if engine else (None, None)
    sha256 = sha256_of(_hashes(), found.target)
    over = _overrides(found.name)
    if json:
        line = models.as_json(found, state, found.name == _default(list(entries.values())), sha256)
        out.json_line(line | {"overrides": models.plain(over), "rung": rung})
    else:
        show(models.one(found, state, sha256, over, rung))


def _overrides(name: str) -> dict[str, Any]:
    """What [models.NAME] of the configuration says: it wins over what the model was added with."""
    over = flags.settings().models.get(name)
    found = {} if over is None else {key: getattr(over, key) for key in over.__struct_fields__}
    return {key: value for key, value in found.items() if value is not None}


@app.command("add")
def add(
    name: Annotated[str, Argument(help="What the model shall be called.")],
    target: Annotated[
        str, Argument(help="FILE.gguf, a FOLDER, http(s)://HOST/v1, echo, or a REPO[:FILE] in the cache.")
    ],
    alias: Alias = None,
    tier: Tier = None,
    price_in: PriceIn = None,
    price_cached: PriceCached = None,
    price_out: PriceOut = None,
    tag: Tag = None,
    remote_model: Annotated[str | None, Option(help="What the endpoint calls it.", metavar="ID")] = None,
    api_key_env: Annotated[str | None, Option(help="The variable that holds its key.", metavar="VAR")] = None,
    embedding: Annotated[bool, Option("--embedding", help="The endpoint's model makes embeddings.")] = False,
    set: Set = None,
    force: Force = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Make a model known. The file stays where it is."""
    from llmctl import wire
    from llmctl.pages import is_page, repo_of
    from llmctl.snapshots import locate
    from llmctl.view import models

    if is_page(target):
        hint = f"`llmctl pull {repo_of(target)} --as {name}` fetches it, and adds it."
        raise InvalidRequest(f"{target} is a page of the Hugging Face hub, and no endpoint", hint)
    settings = labels(set, tier, price_in, price_cached, price_out, tag)
    given = {"remote_model": remote_model, "api_key_env": api_key_env}
    settings |= {key: value for key, value in given.items() if value is not None}
    request = wire.AddModel(
        name=name,
        target=target if target == "echo" or "://" in target else locate(target),
        aliases=alias or [],
        settings=settings,
        kind="embedding" if embedding else None,
        force=force,
    )
    with flags.connect() as client:
        model = client.call(request)
    if json and isinstance(model, wire.Model):
        out.json_line(models.added(model))
    else:
        use = "embed" if isinstance(model, wire.Model) and model.kind == "embedding" else "ask"
        out.notice(f"model {name} is added; `llmctl {use} -m {name} ...` uses it")


app.command("pull")(pull)


@app.command("estimate")
def estimate(
    target: Annotated[str, Argument(help="Name or alias of a model, or its file.", metavar="NAME|FILE")],
    context: Annotated[str | None, Option(help="Tokens that one request may use.", metavar="N")] = None,
    slots: Annotated[str | None, Option(help="Requests that run together.", metavar="N")] = None,
    retained: Annotated[str | None, Option(help="Streams that keep prefixes.", metavar="N")] = None,
    kv_type: Annotated[str | None, Option(help="Type of the KV memory.", metavar="T")] = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Tell what a model would take in memory, without loading it."""
    from llmctl import wire
    from llmctl.cli.console.show import show
    from llmctl.snapshots import locate
    from llmctl.view import models

    given = {"context": context, "slots": slots, "retained": retained, "kv_type": kv_type}
    settings = {key: value for key, value in given.items() if value is not None}
    known = any(target in (entry.name, *entry.aliases) for entry in _entries().values())
    if not known and (os.path.exists(os.path.expanduser(target)) or "/" in target) and "://" not in target:
        target = locate(target)
    with flags.connect() as client:
        result = client.call(wire.EstimateModel(target=target, settings=settings))
    assert isinstance(result, wire.Estimated)
    if json:
        out.json_line(result)
    else:
        show(models.estimated(result))


@app.command("rm")
def rm(name: Name, yes: flags.Yes = False, json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Forget a model and unload it. Deletes what `pull` fetched for it; a file of yours is never deleted."""
    from llmctl import wire

    found, _ = _find(name)
    what = f"its files of {found.pulled} at {found.target}"
    flags.confirm(yes, [f"model {name}", *([what] if found.pulled else [])])
    with flags.connect() as client:
        client.call(wire.RemoveModel(name=name))
    if json:
        out.json_line({"removed": found.name})
    else:
        out.notice(f"model {found.name} is removed{f', and {what} are deleted' if found.pulled else ''}")


@app.command("load")
def load(
    name: Name,
    replicas: Annotated[int | None, Option(help="So many processes of it.", metavar="N")] = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Load a model now, so that the first question does not wait for it."""
    from llmctl import wire

    _print_engines(wire.LoadModel(name=name, replicas=replicas), json)


@app.command("pin")
def pin(
    name: Name,
    off: Annotated[bool, Option("--off", help="Let it go again.")] = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Load a model and keep it: it makes room for no other, and is there when the hub starts."""
    from llmctl import wire

    _print_engines(wire.PinModel(name=name, pinned=not off), json)


def _print_engines(request: "wire.Request", json: bool) -> None:
    from llmctl import wire
    from llmctl.cli.console.show import show
    from llmctl.view import models

    with flags.connect() as client:
        result = client.call(request)
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
        raise ModelUnavailable(f"model {short(name)!r} is not loaded: the hub is not running", "")
    if json:
        out.json_line({"unloaded": name})
