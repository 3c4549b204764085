"""The composition root: takes the lock, builds every object of the hub in order, runs the hub, and closes everything.

Shows what the hub consists of; decides nothing.
"""

import argparse
import asyncio
import contextlib
import errno
import gc
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Any

import msgspec

from llmctl import __version__, wire
from llmctl.config import Cache, Config, load
from llmctl.errors import LlmctlError, Storage
from llmctl.files import write_whole
from llmctl.guide import built_in
from llmctl.paths import Paths, check_way, find_paths, make_private, make_reachable, os_user
from llmctld.cache.entries.book import Book
from llmctld.cache.eviction import POLICIES
from llmctld.cache.expiry import DEFAULT_TTL_S
from llmctld.cache.level import Stored
from llmctld.cache.levels.disk import DiskLevel, scrap
from llmctld.cache.levels.level_thread import LevelThread
from llmctld.cache.levels.memory import MemoryLevel
from llmctld.cache.levels.shared import LIMIT as SHARED_LIMIT
from llmctld.cache.levels.shared import SharedLevel
from llmctld.cache.levels.tiers import Tiers
from llmctld.cache.lifetimes.learned import Learned
from llmctld.cache.prefetch.prefetch import Computed, Prefetcher, open_prefetcher, parse_answer_s
from llmctld.cache.prefetch.store import PrefetchStore
from llmctld.call.call import Link, Stage, compose
from llmctld.handlers.cache import figures
from llmctld.handlers.hub import Hub
from llmctld.history import History
from llmctld.inside.background import Background
from llmctld.inside.prefetch import computing
from llmctld.models.catalogue.builtin import Builtin
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.catalogue.contents import Contents
from llmctld.models.catalogue.hashing import Hasher
from llmctld.models.engines.ladder import Ladder
from llmctld.models.found.file_contents import FileContents
from llmctld.models.memory.estimate import Estimates
from llmctld.models.pull.pull import Puller
from llmctld.models.running.memory_budget import MemoryBudget
from llmctld.models.running.residency import Residency
from llmctld.money.pricing.energy import EnergyMeter, counters_of
from llmctld.money.pricing.price_list import PriceList
from llmctld.money.pricing.rates import Rates
from llmctld.money.pricing.recompute import recompute_cost, recompute_price
from llmctld.money.spending.accounts import Accounts
from llmctld.money.spending.budgets import Budgets
from llmctld.pipeline.compute.embed import Embedding
from llmctld.pipeline.compute.generate import Generator
from llmctld.pipeline.compute.give_way import give_way
from llmctld.pipeline.compute.postprocess import postprocess
from llmctld.pipeline.compute.samples import samples
from llmctld.pipeline.compute.structure import structure
from llmctld.pipeline.compute.supplied import supplied
from llmctld.pipeline.compute.trial import Trial
from llmctld.pipeline.intake.deadline import deadline
from llmctld.pipeline.intake.guide import Guide
from llmctld.pipeline.intake.preprocess import preprocess
from llmctld.pipeline.intake.price import price
from llmctld.pipeline.intake.record import record
from llmctld.pipeline.intake.validate import validate
from llmctld.pipeline.paying.budget import budget
from llmctld.pipeline.paying.paid_embed import PaidEmbedding
from llmctld.pipeline.reuse.exact import exact
from llmctld.pipeline.reuse.flight import flight
from llmctld.pipeline.reuse.foresee import foresee
from llmctld.pipeline.reuse.semantic import SemanticCache
from llmctld.pipeline.reuse.store import store
from llmctld.requests import Requests
from llmctld.runtime.counters import Counters
from llmctld.runtime.descriptors import raise_limit
from llmctld.runtime.log import log, open_log
from llmctld.semantic.judge import Judge
from llmctld.semantic.knowledge import Knowledge
from llmctld.semantic.verify import Verifier
from llmctld.server import Server
from llmctld.storage.files import clear_way
from llmctld.storage.lock import lock
from llmctld.storage.watch import Watch

DRAIN_S = 10.0
FULL = (errno.ENOSPC, errno.EDQUOT)


class Starter:
    """The process that started the hub and reads at most one line of JSON from it. `descriptor`: None if there is none."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    def tell(self, line: object) -> None:
        """Sends the line; later ones are dropped, since the descriptor may be another file by then."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with contextlib.suppress(OSError), os.fdopen(descriptor, "wb") as file:
                file.write(msgspec.json.encode(line) + b"\n")


class Notices:
    """Notices of stores that no request reads or writes by itself."""

    def __init__(self) -> None:
        self.news: list[str] = []


def main() -> int:
    """`python -m llmctld [--ready-fd N]`: runs the hub in the foreground. Returns 0 after an orderly end."""
    parser = argparse.ArgumentParser(prog="llmctld", description="The llmctl hub. `llmctl` starts it automatically.")
    parser.add_argument(
        "--ready-fd", type=int, help="file descriptor for one line of JSON when the hub is ready or has failed"
    )
    starter = Starter(parser.parse_args().ready_fd)
    os.umask(0o077)
    raise_limit()
    try:
        paths = find_paths()
        check_way(paths.run.parent)
        for folder in (paths.run, paths.state, paths.logs, paths.cache, paths.models):
            make_private(folder)
        make_reachable(paths)
        for file in (paths.hub_info, paths.hub_spare):
            clear_way(file)
        with lock(paths):
            config = load(paths.config_file)
            with open_log(paths.logs, config.logs):  # complete before the next hub may write there
                asyncio.run(run(paths, config, starter))
    except LlmctlError as error:
        starter.tell({"error": error.fields()})
        print(f"llmctld: {error.message}\n{error.hint}", file=sys.stderr)  # noqa: T201 - the end of the log of a hub that never was
        return error.status
    return 0


async def run(paths: Paths, config: Config, starter: Starter) -> None:
    """Builds the hub, reports that it is ready, and runs until it is told to stop. Closes what was opened, whatever fails."""
    requests = Requests(config.limits.per_client)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, lambda: asyncio.ensure_future(requests.stop(DRAIN_S)))
    async with AsyncExitStack() as opened:
        hub = await _open(opened, paths, config, requests)
        gc.freeze()  # these objects live as long as the hub: garbage collection can skip them
        opened.callback(gc.unfreeze)
        _announce(paths, config, starter)
        hub.tiers.start()
        hub.residency.preload()
        await requests.stopped.wait()
    with contextlib.suppress(OSError):
        os.replace(paths.hub_info, paths.hub_spare)  # if the next hub finds the file itself, the last one was killed
    log.info("the hub has ended")


async def _open(opened: AsyncExitStack, paths: Paths, config: Config, requests: Requests) -> Hub:
    """Builds every part of the hub. `opened` collects how each part is closed, in the order of opening: users close before what
    they use."""
    watch, counters, notices = Watch(), Counters(), Notices()
    contents = Contents(paths.hashes, notices.news.append)
    catalog = Catalog(paths.models, config.models, contents, built_in(), notices.news.append)
    history = History(paths.history, config.history.durability == "full")
    opened.callback(history.close)
    abandoned = await history.open()
    learned = Learned(paths.cache / "learned.json", config.cache.ttl)
    opened.push_async_callback(learned.close)
    prices = PriceList(catalog, config.money)
    tiers = build_tiers(paths, config.cache, learned, recompute_price(catalog, prices), counters)
    opened.push_async_callback(tiers.close)
    tiers.add_news(history)
    tiers.add_news(notices)
    knowledge = Knowledge(paths.cache / "semantic", catalog, tiers, config.cache.semantic)
    opened.push_async_callback(knowledge.close)
    trial = Trial()
    opened.push_async_callback(trial.close)
    accounts = Accounts(
        Budgets(paths.budgets), paths.ledger, config.money.currency, config.history.durability == "full"
    )
    opened.callback(accounts.close)
    await accounts.open()
    tiers.add_news(accounts)
    estimates = Estimates(catalog, paths.measured, notices.news.append)
    memory = MemoryBudget(catalog, estimates, config.limits)
    ladder = Ladder(paths.rungs, notices.news.append)
    residency = Residency(catalog, memory, paths.logs, paths.cache / "prefixes", config, ladder)
    opened.push_async_callback(residency.close)
    hasher = Hasher(catalog.contents, lambda: bool(requests.delaying()))
    opened.push_async_callback(hasher.close)
    background = Background(requests.delaying)
    embedding = Embedding(residency, Builtin(catalog, paths.cache / "models").choose, config.limits)
    semantic = build_semantic(knowledge, config.cache, tiers, catalog, embedding, residency, background)
    opened.push_async_callback(semantic.verifier.close)
    opened.push_async_callback(background.close)
    requests.when_stopping(background.end)
    compute = computing(background, residency, catalog, tiers.expires)
    prefetch = await build_prefetch(paths, config.cache, tiers, background, compute)
    if prefetch is not None:
        opened.push_async_callback(prefetch.close)
    files = [file for file in (contents.file, estimates.file, ladder.file) if file is not None]
    watch.add(
        history,
        accounts,
        *tiers.stores(),
        learned,
        knowledge,
        catalog,
        *files,
        *([] if prefetch is None else [prefetch]),
    )
    background.pipeline = build_pipeline(
        config,
        catalog,
        history,
        tiers,
        residency,
        trial,
        background,
        prefetch,
        semantic,
        Guide(catalog, paths.guide_told),
        prices,
        accounts,
    )
    paid = PaidEmbedding(embedding, accounts, prices, os_user())
    hub = Hub(
        socket=str(paths.socket), requests=requests, counters=counters, pipeline=background.pipeline,
        embedding=paid, catalog=catalog, residency=residency, tiers=tiers, history=history, accounts=accounts,
        puller=Puller(catalog, paths.pulled, lambda: memory.limit.host), estimates=estimates,
        file_contents=FileContents(memory), background=background,
        semantic=semantic, watch=watch, prefetch=prefetch,
    )  # fmt: skip
    counters.gauge("requests_in_flight", requests.in_flight)
    counters.gauge("engines", lambda: len(residency.statuses()))
    server = Server(hub, paths.socket)
    opened.push_async_callback(server.close)
    opened.push_async_callback(_keep_figures, paths, hub)
    log.info("the hub is ready", version=__version__, pid=os.getpid(), abandoned_requests=abandoned)
    return hub


def build_tiers(
    paths: Paths, settings: Cache, learned: Learned, price: Callable[[Stored], float | None], counters: Counters
) -> Tiers:
    """The levels of the cache. A lookup asks memory first, then these levels in order."""
    policy, answers = POLICIES[settings.eviction], paths.cache / "answers"

    def disk(repair: bool) -> DiskLevel:
        return DiskLevel(answers, settings.disk_bytes, policy(settings.disk_bytes), repair)

    threads: list[LevelThread[Any]] = []
    if settings.disk_bytes:  # a hub that was killed has left its file behind
        killed = paths.hub_info.exists()
        remove = partial(scrap, answers)
        threads.append(
            LevelThread(DiskLevel.name, disk, settings.disk_bytes, repair=killed, scrap=remove, counters=counters)
        )
    if settings.shared_url is not None:
        threads.append(
            LevelThread(
                SharedLevel.name, partial(_shared, settings.shared_url), SHARED_LIMIT, rests=True, counters=counters
            )
        )
    memory = MemoryLevel(settings.memory_bytes, policy(settings.memory_bytes))
    book = Book(paths.cache / "cache.db")
    return Tiers(memory, threads, settings.ttl, book, learned, recompute_cost(price), price, counters)


def _shared(url: str, repair: bool) -> SharedLevel:
    return SharedLevel(url)


async def build_prefetch(
    paths: Paths,
    settings: Cache,
    tiers: Tiers,
    background: Background,
    compute: Callable[[bytes], Awaitable[Computed | None]],
) -> Prefetcher | None:
    """Prefetch; None unless it is enabled. Requests are kept even if `cache.ttl` is shorter, since prefetch replaces expired
    answers."""
    if not (settings.enabled and settings.prefetch.enabled):
        return None

    counted_s = parse_answer_s(os.environ)

    def make(shelf: PrefetchStore) -> Prefetcher:
        return Prefetcher(
            settings.prefetch, shelf, compute, tiers.expires, background.quiet, DEFAULT_TTL_S, settings.ttl,
            fixed_s=counted_s,
        )  # fmt: skip

    prefetch = await open_prefetcher(paths.cache / "prefetch.db", make)
    tiers.add_news(prefetch)
    return prefetch


def build_semantic(
    knowledge: Knowledge,
    settings: Cache,
    tiers: Tiers,
    catalog: Catalog,
    embedding: Embedding,
    residency: Residency,
    background: Background,
) -> SemanticCache:
    """The stage that answers from similar questions."""
    judge = Judge(background, catalog, knowledge, settings.semantic)
    return SemanticCache(
        tiers, catalog, embedding, knowledge, Verifier(background, residency, knowledge, judge), settings
    )


def build_pipeline(
    config: Config,
    catalog: Catalog,
    history: History,
    tiers: Tiers,
    residency: Residency,
    trial: Trial,
    background: Background,
    prefetch: Prefetcher | None,
    semantic: SemanticCache,
    guide: Guide,
    prices: PriceList,
    accounts: Accounts,
) -> Stage:
    """The stages in order, outermost first: the path of every request for an answer.

    `route` (the choice of the model) will stand before `exact`, since the key names the model. `budget` stands before `samples`
    and inside `semantic`, so that no hit and no joined request reaches it.
    """
    links: list[Link] = [
        record(history),
        deadline,
        validate(config.limits),
        preprocess(catalog, history, config.limits.prompt_bytes),
        price(prices),
        guide,  # the built-in model: only questions go in, and no refusal comes out
        *([] if prefetch is None else [foresee(prefetch, catalog, config.cache)]),
        exact(tiers, catalog, config.cache),  # looks up a stored answer
        flight(tiers),  # joins an equal request that is being computed
        store(tiers, catalog),  # stores what the stages after it compute
        semantic,
        budget(accounts, Rates(), os_user()),
        samples,
        postprocess,
        structure(trial),
        supplied,
        give_way(background.give_way, residency),
    ]
    energy = EnergyMeter(counters_of(os.environ) if config.money.energy_per_kwh is not None else ())
    return compose(links, Generator(residency, catalog, config.limits.queue, energy))


def _announce(paths: Paths, config: Config, starter: Starter) -> None:
    info = wire.HubInfo(
        pid=os.getpid(), version=__version__, protocol=wire.PROTOCOL, socket=str(paths.socket), started=time.time(),
        fingerprint=config.fingerprint(),
    )  # fmt: skip
    line = msgspec.json.encode(info)
    try:
        write_whole(paths.hub_info, line)
    except OSError as error:
        if error.errno not in FULL or not _write_into_spare(paths, line):
            raise Storage.unwritten(paths.hub_info, error) from error
    starter.tell({"pid": info.pid})


def _write_into_spare(paths: Paths, line: bytes) -> bool:
    """Writes where no new space is needed, since whoever has a full disk needs the hub to make room."""
    try:
        spare = paths.hub_info if paths.hub_info.exists() else paths.hub_spare
        with spare.open("r+b") as file:
            file.write(line)
            file.truncate()
        os.replace(spare, paths.hub_info)
    except OSError:
        return False
    return True


async def _keep_figures(paths: Paths, hub: Hub) -> None:
    """Saves what `cache stats` and `cache audit` print while no hub runs."""
    with contextlib.suppress(OSError, Storage):
        stats = await figures(hub.tiers, hub.semantic, hub.prefetch)
        write_whole(paths.cache_stats, msgspec.json.encode(stats))
        if hub.semantic.knowledge.is_open:
            write_whole(paths.cache_audit, msgspec.json.encode(await hub.semantic.audit()))
