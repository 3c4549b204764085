"""Requests about models: adding, pulling, estimating, describing, loading, changing, pinning, unloading and removing them."""

import asyncio
from contextlib import aclosing

import msgspec

from llmctl import wire
from llmctl.config import ModelEntry
from llmctl.errors import Internal
from llmctld.handlers.hub import Hub, Tell
from llmctld.models.catalogue.address import is_open

AT_ONCE = 16
"""Files whose headers are read in one go."""


async def add_model(hub: Hub, request: wire.AddModel, tell: Tell) -> wire.Model:
    entry = hub.catalog.add(
        request.name, request.target, request.aliases, request.settings, request.force, kind=request.kind,
        origin=request.origin,
    )  # fmt: skip
    if entry.settings.get("api_key_env") and is_open(entry.target):
        where = f"{entry.target} is plain http to another machine"
        tell(wire.Notice(text=f"the key of {entry.name} is sent unencrypted: {where}"))
    return _model(entry)


def _model(entry: ModelEntry) -> wire.Model:
    return wire.Model(
        name=entry.name, target=entry.target, backend=entry.backend, kind=entry.kind, aliases=entry.aliases,
        settings=entry.settings,
    )  # fmt: skip


async def pull_model(hub: Hub, request: wire.PullModel, tell: Tell) -> wire.Model:
    async with aclosing(hub.puller.pull(request)) as events:
        async for event in events:
            if isinstance(event, ModelEntry):
                return _model(event)
            tell(event)
    raise Internal("the pull ended without a model")


async def estimate_model(hub: Hub, request: wire.EstimateModel, tell: Tell) -> wire.Estimated:
    entry, settings = hub.catalog.resolve(request.target, request.settings)
    return await asyncio.to_thread(hub.estimates.tell, entry, settings)


async def describe_files(hub: Hub, request: wire.DescribeFiles, tell: Tell) -> wire.FilesDescribed:
    files: list[wire.FileContent] = []
    for first in range(0, len(request.paths), AT_ONCE):  # a cancelled request reads no further
        files += await asyncio.to_thread(hub.file_contents.describe, request.paths[first : first + AT_ONCE])
    return wire.FilesDescribed(files=files)


async def remove_model(hub: Hub, request: wire.RemoveModel, tell: Tell) -> wire.Nothing:
    entry = hub.catalog.added(request.name)
    if hub.residency.holds(entry.name):
        await hub.residency.unload(entry.name)
    files = hub.puller.files(entry)
    hub.catalog.remove(entry.name)
    hub.residency.forget(entry.name)
    await asyncio.to_thread(hub.puller.delete, files)
    return wire.Nothing()


async def load_model(hub: Hub, request: wire.LoadModel, tell: Tell) -> wire.Engines:
    entry = hub.catalog.find(request.name)
    hub.residency.retry(entry)
    if not hub.residency.is_loaded(entry):
        tell(wire.Notice(text=hub.residency.wait_notice(entry)))
    worker = await hub.residency.load(entry, request.replicas)
    for notice in worker.loaded.notices if worker.loaded else []:
        tell(wire.Notice(text=notice))
    return _engines(hub, entry.name)


def _engines(hub: Hub, name: str) -> wire.Engines:
    return wire.Engines(engines=[line for line in hub.residency.statuses() if line.name == name])


async def set_model(hub: Hub, request: wire.SetModel, tell: Tell) -> wire.Model:
    entry = hub.catalog.change(request.name, request.settings, request.unset, request.aliases, request.dropped)
    for key, value in hub.catalog.overridden(entry, [*request.settings, *request.unset]).items():
        shown = msgspec.json.encode(value, enc_hook=str).decode()
        tell(wire.Notice(text=f"the configuration sets models.{entry.name}.{key} = {shown}, which takes precedence"))
    if not hub.residency.apply(entry):
        tell(wire.Notice(text=f"{entry.name} is loaded with its earlier settings; the next request loads it again"))
    return _model(entry)


async def pin_model(hub: Hub, request: wire.PinModel, tell: Tell) -> wire.Engines:
    entry = hub.catalog.check_pin(request.name, request.pinned)
    if request.pinned:
        if not hub.residency.is_loaded(entry):
            tell(wire.Notice(text=hub.residency.wait_notice(entry)))
        await hub.residency.load(
            entry
        )  # first: a model that does not load, or a request that is cancelled, pins nothing
    await hub.residency.pin(hub.catalog.pin(request.name, request.pinned))
    return _engines(hub, entry.name)


async def unload_model(hub: Hub, request: wire.UnloadModel, tell: Tell) -> wire.Nothing:
    removed = hub.residency.holds(request.name)  # a removed model stays loaded while requests still use it
    name = request.name if removed else hub.catalog.find(request.name).name
    if serving := hub.residency.leases(name):
        tell(wire.Notice(text=f"{name} is unloaded after the requests it is answering: {serving}"))
    await hub.residency.unload(name)
    return wire.Nothing()
