"""The shared level against a real redis-server: the contract of a level, secrets, and server failures."""

import asyncio
import time
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from llmctld.cache.entries.book import Book
from llmctld.cache.eviction import Item
from llmctld.cache.level import Level
from llmctld.cache.levels import level_thread as threads
from llmctld.cache.levels.level_thread import LevelThread
from llmctld.cache.levels.shared import LIMIT, PREFIX, SharedError, SharedLevel
from llmctld.cache.levels.tiers import Tiers
from structlog.testing import capture_logs

from llmctl.errors import Storage
from tests.hub.scene import a_disk, at_once, in_loop, some_tiers
from tests.hub.test_tiers import TTL, answer
from tests.redis_server import RedisServer, a_redis, needs_redis

pytestmark = needs_redis
ITEM = Item(1, 1.0)


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with a_redis() as made:
        yield made


@pytest.fixture
def shared(server: RedisServer) -> Iterator[SharedLevel]:
    with closing(SharedLevel(server.url())) as level:
        level.clear()
        yield level


def put(level: Level, key: str, value: bytes, lifetime: float = 100.0) -> list[str]:
    return level.put(key, value, time.time() + lifetime, ITEM)


# ---- the contract, which the disk keeps as well ---------------------------------------------------------------------


@pytest.fixture(params=["disk", "shared"])
def level(request: pytest.FixtureRequest, shared: SharedLevel, tmp_path: Path) -> Iterator[Level]:
    if request.param == "shared":
        yield shared
        return
    with closing(a_disk(tmp_path / "answers", 64 * 2**20)) as disk:
        yield disk


@pytest.mark.parametrize("value", [b"", b"\x00small\xff", bytes(range(256)) * 4000])
def test_a_stored_value_is_returned_with_its_expiry(level: Level, value: bytes) -> None:
    end = time.time() + 77
    assert level.put("k", value, end, ITEM) == []
    found = level.get("k")
    assert found is not None
    assert found.value == value
    assert found.expires == pytest.approx(end, abs=0.5)
    assert level.get("other") is None


def test_the_last_put_wins_with_its_expiry(level: Level) -> None:
    put(level, "k", b"one", 10)
    put(level, "k", b"two", 1000)
    found = level.get("k")
    assert found is not None
    assert found.value == b"two"
    assert found.expires > time.time() + 900


def test_exists_delete_and_size(level: Level) -> None:
    for number in range(1200):
        put(level, f"{number}", b"x" * 10)
    assert level.exists(["3", "none", "7"]) == {"3", "7"}
    entries, size = level.size()
    assert entries == 1200
    assert size >= 12_000
    assert level.delete(["3", "none", "7"]) == 2
    assert level.exists(["3", "7", "8"]) == {"8"}
    assert level.clear() == 1198
    assert level.size()[0] == 0


def test_an_expired_value_is_a_miss(level: Level) -> None:
    put(level, "k", b"old", 100)
    put(level, "k", b"x", -1)
    assert level.get("k") is None
    assert level.exists(["k"]) == set()


def test_a_value_that_is_too_large_is_refused_and_removes_the_old_one(level: Level) -> None:
    put(level, "k", b"old")
    assert put(level, "k", b"x" * 2 * max(LIMIT, 64 * 2**20)) == ["k"]
    assert level.get("k") is None


@pytest.mark.parametrize("planted", ["\\xc1garbage", ""])
def test_a_damaged_value_is_reported(shared: SharedLevel, server: RedisServer, planted: str) -> None:
    put(shared, "k", b"value")
    assert server.ask("SETRANGE", f"{PREFIX}k", "7", "X").startswith(b":")
    with pytest.raises(ValueError, match="checksum"):
        shared.get("k")


def test_other_keys_on_the_server_are_left_unchanged(shared: SharedLevel, server: RedisServer) -> None:
    server.ask("SET", "someone:else", "1")
    put(shared, "k", b"x")
    assert shared.size()[0] == 1
    assert shared.clear() == 1
    assert server.ask("GET", "someone:else").startswith(b"$1")
    server.ask("DEL", "someone:else")


# ---- what it says when it cannot ------------------------------------------------------------------------------------

SECRET = "s3cr3t/p@ss:wurd"
QUOTED = "s3cr3t%2Fp%40ss%3Awurd"


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"redis://:{QUOTED}@127.0.0.1:1/0", "refused"),
        (f"redis://ana:{QUOTED}@127.0.0.1:1/0", "refused"),
        (f"redis://:{SECRET}@127.0.0.1:1/0", "not a valid address"),
        (f"unix:///nowhere/redis.sock?password={QUOTED}", "No such file"),
        (f"http://:{SECRET}@127.0.0.1:1/0", "must begin with one of redis://"),
        (f"redis://:{SECRET}", "not a valid address"),
    ],
)
def test_errors_contain_no_secret_of_the_url(url: str, words: str) -> None:
    with pytest.raises(SharedError, match=words) as caught:
        SharedLevel(url).get("k")
    told = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    for part in (SECRET, QUOTED, "s3cr3t", "p@ss", "wurd"):
        assert part not in told


def test_a_password_may_contain_any_character() -> None:
    with a_redis(password=SECRET, tcp=True) as server, closing(SharedLevel(server.url(QUOTED))) as level:
        put(level, "k", b"x")
        assert level.exists(["k"]) == {"k"}
        for wrong in ("wrong", ""):
            with pytest.raises(SharedError, match=r"(?i)auth|password"):
                SharedLevel(server.url(wrong)).get("k")


# ---- between the others ---------------------------------------------------------------------------------------------


def tiers_on(url: str, folder: Path | None = None, memory: int = 2**20, **more: Any) -> Tiers:
    tiers = some_tiers(folder, memory, ttl=TTL, **more)
    thread = LevelThread("shared", lambda repair: SharedLevel(url), LIMIT, rests=True)
    thread.start()
    tiers._threads.append(thread)
    tiers.add_news(thread)
    return tiers


async def state(tiers: Tiers) -> str:
    return (await tiers.report.stats()).levels[-1].state


@in_loop
async def test_an_answer_of_another_hub_keeps_its_remaining_ttl(server: RedisServer, tmp_path: Path) -> None:
    """Promoted into every level above, never with a new lifetime."""
    SharedLevel(server.url()).clear()
    one, other = tiers_on(server.url()), tiers_on(server.url(), tmp_path)
    await one.put("k", answer("text", created=time.time() - TTL + 50))
    for expected in ("shared", "memory"):
        hit = await other.get("k", None)
        assert hit is not None
        assert (hit.level, hit.answer.first.text) == (expected, "text")
    await at_once(lambda: not other._tasks)
    ends = [level.left_s for level in await other._levels.holding("k")]
    assert len(ends) == 3
    assert all(40 < left <= 50 for left in ends), ends
    await one.close()
    await other.close()


@in_loop
async def test_a_dead_server_fails_no_request_and_is_used_again_once_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "REST_S", 0.0)
    monkeypatch.setattr(threads, "REST_MAX_S", 0.0)
    with a_redis() as server:
        tiers = tiers_on(server.url())
        await tiers.put("before", answer("text", created=time.time()))
        assert await state(tiers) == "ok"
        server.kill()
        assert await tiers.get("none", None) is None
        await tiers.put("while", answer("text", created=time.time()))
        assert await tiers.get("while", None) is not None, "memory serves"
        assert await state(tiers) == "failing"
        assert (await tiers.report.stats()).levels[-1].errors >= 1
        assert any("shared level of the cache fails" in words for words in tiers.news())
        with pytest.raises(Storage, match="shared"):
            await tiers.clear()
        server.start()
        while await state(tiers) != "ok":  # noqa: ASYNC110 - each look is what makes it try
            await asyncio.sleep(0)
        assert any("works again" in words for words in tiers.news())
        await tiers.put("after", answer("text", created=time.time()))
        assert server.keys() >= 1
        await tiers.close()


@in_loop
async def test_values_removed_while_the_server_was_down_are_never_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server comes back with its old values: those that were deleted or refreshed meanwhile no longer count."""
    monkeypatch.setattr(threads, "REST_S", 0.0)
    monkeypatch.setattr(threads, "REST_MAX_S", 0.0)
    with a_redis() as server:
        tiers = tiers_on(server.url(), memory=0)
        for key in ("deleted", "refreshed", "kept"):
            await tiers.put(key, answer("old", created=time.time()))
        with server.standing_still():
            assert await tiers.delete(["deleted"]) == 0
            await tiers.put("refreshed", answer("new", created=time.time()))
        while await state(tiers) != "ok":  # noqa: ASYNC110
            await asyncio.sleep(0)
        found = {key: await tiers.get(key, None) for key in ("deleted", "refreshed", "kept")}
        assert {key: hit and hit.answer.first.text for key, hit in found.items()} == {
            "deleted": None, "refreshed": None, "kept": "old",
        }  # fmt: skip
        await tiers.close()


@in_loop
async def test_a_silent_server_is_waited_for_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "REST_S", 3600.0)
    with a_redis() as server:
        tiers = tiers_on(server.url())
        await tiers.put("k", answer("text", created=time.time()))
        with server.standing_still():
            await asyncio.gather(*(tiers.get(f"none {number}", None) for number in range(50)))
            assert tiers._threads[-1].meter.errors == 1, "one found out; the others were told"
        await tiers.close()


@in_loop
async def test_a_wrong_password_is_reported_without_the_password(tmp_path: Path) -> None:
    with a_redis(password="right", tcp=True) as server, capture_logs() as logged:
        tiers = tiers_on(server.url("wr0ng"), book=Book(tmp_path / "cache.db"))
        await tiers.put("k", answer("text", created=time.time()))
        assert await tiers.get("k", None) is not None
        report = (await tiers.report.stats()).levels[-1]
        assert (report.level, report.state) == ("shared", "failing")
        assert report.error is not None
        assert "password" in report.error
        assert "wr0ng" not in str(logged) + str(tiers.news()) + report.error
        assert "right" not in report.error
        await tiers.close()
