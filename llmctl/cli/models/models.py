"""`llmctl models`: the models that are known, and those that are loaded.

The hub adds, loads and removes them; listing needs no hub.
"""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

from typer import Argument, Option

from llmctl.cli.console import flags, help, out
from llmctl.cli.models import set as set_model
from llmctl.cli.models import suggest
from llmctl.cli.models.find import add_stored, find
from llmctl.cli.models.labels import (
    ENDPOINT,
    Alias,
    Force,
    PriceCached,
    PriceIn,
    PriceOut,
    Set,
    Tag,
    Tier,
    labels,
    report,
)
from llmctl.cli.models.ps import print_engines
from llmctl.cli.models.pull import pull
from llmctl.errors import InvalidRequest, ModelUnavailable, Usage, nearest, short
from llmctl.guide import NAME as GUIDE
from llmctl.guide import OFF as GUIDE_OFF
from llmctl.guide import built_in

if TYPE_CHECKING:
    from llmctl import wire
    from llmctl.config import ModelEntry
    from llmctl.hashes import Hashes

app = flags.group("Add, load and list models.")

Name = Annotated[str, Argument(help="Name or alias of a model.", metavar="NAME")]


@app.command("ls")
def ls(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """List the models in the order in which they were added."""
    from llmctl.cli.console.show import show
    from llmctl.hashes import sha256_of
    from llmctl.view import models

    entries = list(_entries().values())
    default = _default(entries)
    loaded = _loaded()
    if not entries and not json:
        from llmctl.suggestions import no_model_hint

        out.notice(f"no model has been added. {no_model_hint()}")
    if not json:
        show(models.models(entries, loaded))
        return
    hashes = _hashes()
    for entry in entries:
        sha256 = sha256_of(hashes, entry.target)
        out.json_line(models.as_json(entry, loaded.get(entry.name), entry.name == default, sha256))


def _default(entries: "Sequence[ModelEntry]") -> str | None:
    """The name of the model used when none is named: the configured one, else the oldest text model."""
    wanted = flags.settings().defaults.model
    if wanted is None:
        return next((entry.name for entry in entries if entry.kind == "text"), None)
    return next((entry.name for entry in entries if wanted in (entry.name, *entry.aliases)), None)


def _hashes() -> "Hashes":
    from llmctl.hashes import read_hashes

    return read_hashes(flags.paths().hashes, out.notice)


def _loaded() -> dict[str, str]:
    return {engine.name: engine.state for engine in flags.engines() or ()}


def _entries() -> "dict[str, ModelEntry]":
    from llmctl.config import read_models

    return read_models(flags.paths().models, out.notice)


def _find(name: str) -> "tuple[ModelEntry, dict[str, ModelEntry]]":
    """The model with this name or alias, built in or added, and all models that were added. Raises ModelUnavailable."""
    entries = _entries()
    found = next((entry for entry in entries.values() if name in (entry.name, *entry.aliases)), None)
    if found is None and name == GUIDE:
        found = built_in()
    if found is None:
        from llmctl.config import refuse_damaged

        refuse_damaged(flags.paths().models, name)
        known = [known for entry in entries.values() for known in (entry.name, *entry.aliases)]
        raise ModelUnavailable(f"there is no model {short(name)!r}", nearest(name, known) or None)
    return found, entries


@app.command("show")
def show_one(name: Name, json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Show one model."""
    from llmctl.cli.console.show import show
    from llmctl.cli.models.prices import prices_of
    from llmctl.hashes import sha256_of
    from llmctl.view import models

    found, entries = _find(name)
    engine = next((engine for engine in flags.engines() or () if engine.name == found.name), None)
    state, rung = (engine.state, engine.rung) if engine else (None, None)
    sha256 = sha256_of(_hashes(), found.target)
    over, prices = _overrides(found.name), prices_of(found.name)
    if json:
        line = models.as_json(found, state, found.name == _default(list(entries.values())), sha256)
        more = {"overrides": models.plain(over), "rung": rung, "prices": models.prices_as_json(prices.prices)}
        out.json_line(line | more | {"currency": prices.currency})
    else:
        table, rows = models.one(found, state, sha256, over, rung)
        show((table, rows + models.prices(prices.prices, prices.currency)))


def _overrides(name: str) -> dict[str, Any]:
    """The settings in [models.NAME] of the configuration, which win over those the model was added with."""
    over = flags.settings().models.get(name)
    found = {} if over is None else {key: getattr(over, key) for key in over.__struct_fields__}
    return {key: value for key, value in found.items() if value is not None}


EXAMPLES = """
llmctl models add story ~/models/story.gguf --alias s
llmctl models add qwen ./qwen3-4b --set dtype=bfloat16
llmctl models add llama ollama:llama3.2
llmctl models add gpt https://api.openai.com/v1 --remote-model gpt-4o-mini --api-key-env OPENAI_API_KEY
"""


@app.command("add", cls=help.Sectioned, epilog=EXAMPLES)
def add(
    name: Annotated[str, Argument(help="Name to give the model.", metavar="NAME")],
    target: Annotated[
        str,
        Argument(
            metavar="TARGET",
            help="FILE.gguf; a FOLDER with safetensors; an endpoint http(s)://HOST/v1; OWNER/NAME[:FILE] in the Hugging Face "
            "cache; ollama:NAME[:TAG] in ollama's store; or echo, a model for tests that repeats the prompt.",
        ),
    ],
    alias: Alias = None,
    tier: Tier = None,
    price_in: PriceIn = None,
    price_cached: PriceCached = None,
    price_out: PriceOut = None,
    tag: Tag = None,
    remote_model: Annotated[
        str | None, help.option(ENDPOINT, help="The endpoint's own name for the model.", metavar="ID")
    ] = None,
    api_key_env: Annotated[
        str | None, help.option(ENDPOINT, help="Environment variable of the hub that holds the API key.", metavar="VAR")
    ] = None,
    embedding: Annotated[
        bool, help.option(ENDPOINT, "--embedding", help="The endpoint's model computes embeddings.")
    ] = False,
    set: Set = None,
    force: Force = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Add a model: a file, a folder or an endpoint. Files stay where they are."""
    from llmctl import wire
    from llmctl.pages import is_page, repo_of
    from llmctl.snapshots import locate
    from llmctl.stores import ollama
    from llmctl.stores.stored import home_of

    if is_page(target):
        hint = f"`llmctl pull {repo_of(target)} --as {name}` downloads the model and adds it."
        raise InvalidRequest(f"{target} is a page of Hugging Face, not an endpoint", hint)
    settings = labels(set, tier, price_in, price_cached, price_out, tag)
    given = {"remote_model": remote_model, "api_key_env": api_key_env}
    settings |= {key: value for key, value in given.items() if value is not None}
    if ollama.is_name(target):
        stored = ollama.find(target, home_of(flags.settings().search))
        add_stored(name, stored, settings, alias or (), "embedding" if embedding else None, force)
        return
    request = wire.AddModel(
        name=name,
        target=target if target == "echo" or "://" in target else locate(target),
        aliases=alias or [],
        settings=settings,
        kind="embedding" if embedding else None,
        force=force,
    )
    report(flags.call(request, wire.Model))


app.command("set", cls=help.Sectioned, epilog=set_model.EXAMPLES)(set_model.change)
app.command("pull")(pull)
app.command("find")(find)
app.command("suggest", short_help="List small open models to download.", cls=help.Sectioned, epilog=suggest.EXAMPLES)(
    suggest.suggest
)


@app.command("estimate")
def estimate(
    target: Annotated[str, Argument(help="Name or alias of a model, or a file.", metavar="NAME|FILE")],
    context: Annotated[str | None, Option(help="Context size in tokens for one request.", metavar="N")] = None,
    slots: Annotated[str | None, Option(help="Number of requests that run at the same time.", metavar="N")] = None,
    retained: Annotated[
        str | None, Option(help="Number of idle streams that keep prefixes of earlier requests.", metavar="N")
    ] = None,
    kv_type: Annotated[str | None, Option(help="Type of the KV cache, as f16 or q8_0.", metavar="T")] = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Estimate how much memory a model needs, without loading it."""
    from llmctl import wire
    from llmctl.cli.console.show import show
    from llmctl.snapshots import locate
    from llmctl.stores import ollama
    from llmctl.stores.stored import home_of
    from llmctl.view import models

    given = {"context": context, "slots": slots, "retained": retained, "kv_type": kv_type}
    settings = {key: value for key, value in given.items() if value is not None}
    if ollama.is_name(target):
        target = str(ollama.find(target, home_of(flags.settings().search)).path)
    known = any(target in (entry.name, *entry.aliases) for entry in _entries().values())
    if not known and (os.path.exists(os.path.expanduser(target)) or "/" in target) and "://" not in target:
        target = locate(target)
    result = flags.call(wire.EstimateModel(target=target, settings=settings), wire.Estimated)
    if json:
        out.json_line(result)
    else:
        show(models.estimated(result))


@app.command("rm")
def rm(name: Name, yes: flags.Yes = False, json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Remove a model and unload it.

    Deletes files that `pull` downloaded for it, and no others.
    """
    from llmctl import wire

    found, entries = _find(name)
    if found.name not in entries:
        raise Usage(f"the model {found.name} is built in and cannot be removed", GUIDE_OFF)
    what = f"its files downloaded from {found.pulled}: {found.target}"
    flags.confirm(yes, [f"model {name}", *([what] if found.pulled else [])])
    with flags.connect() as client:
        client.call(wire.RemoveModel(name=name))
    if json:
        out.json_line({"removed": found.name})
    else:
        out.notice(f"removed model {found.name}{f' and {what}' if found.pulled else ''}")


@app.command("load")
def load(
    name: Name,
    replicas: Annotated[int | None, Option(help="Number of engine processes.", metavar="N")] = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Load a model now, before the first request."""
    from llmctl import wire

    _change(wire.LoadModel(name=name, replicas=replicas))


@app.command("pin")
def pin(
    name: Name,
    off: Annotated[bool, Option("--off", help="Unpin the model.")] = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Load a model and keep it loaded.

    It is never unloaded to make room for others, and is loaded again whenever the hub starts.
    """
    from llmctl import wire

    _change(wire.PinModel(name=name, pinned=not off))


def _change(request: "wire.Request") -> None:
    """Sends a request that changes what is loaded, and prints the engines of the model."""
    from llmctl import wire

    print_engines(flags.call(request, wire.Engines).engines)


@app.command("unload")
def unload(name: Name, json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Unload a model and free its memory."""
    from llmctl import wire

    if flags.ask_running_hub(wire.UnloadModel(name=name)) is None:
        raise ModelUnavailable(
            f"model {short(name)!r} is not loaded: the hub is not running", "Nothing needs to be unloaded."
        )
    if json:
        out.json_line({"unloaded": name})
