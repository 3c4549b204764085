"""The hub is killed in the middle of ten thousand writes: no value is torn, and store, book and the index of stored questions
agree afterwards.
"""

import random
import signal
import sqlite3
import zlib
from collections import Counter
from contextlib import closing

from llmctld.vectors.index import Vectors

from llmctl import wire
from tests.e2e.dealer import Dealer, Silent
from tests.e2e.house import House, gone, until, with_signal
from tests.e2e.house import house as a_house
from tests.stress.scale import count, seeded

ROUNDS, WRITES = 20, 10_000
WINDOW = 32
"""Writes that are under way together."""
DIMENSION = 384
LARGE = 40_000
"""Characters of every fifteenth answer: in a file of its own, beside the database."""


def text_of(question: int, version: int) -> str:
    """An answer that tells whether it is whole, and which one it is."""
    body = f"{question} {version} " + "xyz" * ((LARGE if question % 15 == 0 else 120) // 3)
    return f"{body} {zlib.crc32(body.encode())}"


def whole(text: str) -> tuple[int, int]:
    """The question and the version; AssertionError for a torn text."""
    body, _, checksum = text.rpartition(" ")
    assert zlib.crc32(body.encode()) == int(checksum), text[:80]
    question, version, _ = body.split(" ", 2)
    return int(question), int(version)


def write(house: House, writes: int, kill_after: int, dice: random.Random) -> dict[int, int]:
    """Stores answers, a third of them again and again, until the hub is killed; question -> the last version acknowledged."""
    acknowledged: dict[int, int] = {}
    versions: Counter[int] = Counter()
    flying: dict[bytes, tuple[int, int]] = {}
    hub, sent, done = house.hub(), 0, 0
    with Dealer(house.socket, timeout=2.0) as dealer:
        while sent < writes or flying:
            while sent < writes and len(flying) < WINDOW:
                question = dice.randrange(50) if sent % 3 == 0 else 50 + sent
                if question in {number for number, _ in flying.values()}:
                    question = 50 + sent
                versions[question] += 1
                request = wire.Generate(prompt=f"question {question}", model="echo", cache="refresh", semantic=True)
                warm = wire.Warm(request=request, text=text_of(question, versions[question]))
                flying[dealer.send(warm)] = question, versions[question]
                sent += 1
            if done >= kill_after:
                with_signal(hub, signal.SIGKILL)
            try:
                identity, body = dealer.receive_frames()
            except Silent:
                break
            reply = wire.decode_reply(body)
            if isinstance(reply, wire.Done):
                question, version = flying.pop(identity)
                acknowledged[question] = version
                done += 1
    with_signal(hub, signal.SIGKILL)
    gone([hub])
    return acknowledged


def check(house: House, acknowledged: dict[int, int]) -> int:
    """The number of entries; each is whole, in cache.db and on disk, and not older than acknowledged."""
    house.ok("daemon", "start")
    with Dealer(house.socket) as dealer:
        for question, version in acknowledged.items():
            reply = dealer.ask(wire.Generate(prompt=f"question {question}", model="echo", cache="only"))
            assert isinstance(reply, wire.Done), (question, version, reply)
            assert isinstance(reply.result, wire.Answer)
            found = whole(reply.result.text)
            assert found[0] == question
            assert found[1] >= version, "an answer that was acknowledged is gone"

        def listed() -> set[str]:
            keys: list[wire.CacheEntry] = []
            while True:
                reply = dealer.ask(wire.ListCache(after=keys[-1].number if keys else 0, limit=10_000))
                assert isinstance(reply, wire.Done)
                assert isinstance(reply.result, wire.CacheEntries)
                if not reply.result.entries:
                    return {entry.key for entry in keys}
                keys += reply.result.entries

        def stored() -> set[str]:
            with closing(sqlite3.connect(house.place / "cache" / "answers" / "cache.db")) as store:
                return {key for (key,) in store.execute("SELECT key FROM Cache")}

        until(lambda: listed() == stored(), what="book and store agree")
        for key in listed():
            reply = dealer.ask(wire.ShowCache(key=key))
            assert isinstance(reply, wire.Done), reply
            assert isinstance(reply.result, wire.CacheShown)
            whole(reply.result.text)
        entries = len(listed())
    files = {path.name for path in (house.place / "cache" / "answers").glob("*/*/*.val")}
    with closing(sqlite3.connect(house.place / "cache" / "answers" / "cache.db")) as store:
        named = {
            name.rpartition("/")[2] for (name,) in store.execute("SELECT filename FROM Cache WHERE filename NOT NULL")
        }
    assert files == named, "no file without an entry, and none that is missing"
    levels = {line["level"]: line for line in house.ok("cache", "stats", "--json").lines}
    assert (levels["disk"]["state"], levels["disk"]["errors"]) == ("ok", 0)
    return entries


def agree(house: House) -> int:
    """The number of stored questions: each is in the index and has its answer, and the index holds no other."""
    with Dealer(house.socket) as dealer:
        reply = dealer.ask(wire.Generate(prompt="anything at all", model="echo", semantic=True, cache="refresh"))
        assert isinstance(reply, wire.Done), reply
    house.ok("daemon", "stop")
    (database,) = house.place.glob("cache/semantic/*/semantic.db")
    with closing(sqlite3.connect(database)) as questions:
        asked = dict(questions.execute("SELECT number, key FROM entries").fetchall())
    vectors = Vectors(database.parent / "index", DIMENSION)
    assert vectors.open() == [], "nothing was damaged"
    assert vectors.check(asked) == ([], [])
    vectors.close()
    with closing(sqlite3.connect(house.place / "cache" / "answers" / "cache.db")) as store:
        answers = {key for (key,) in store.execute("SELECT key FROM Cache")}
    assert set(asked.values()) <= answers
    house.ok("daemon", "start")
    return len(asked)


def test_a_hub_killed_while_writing_leaves_no_torn_value() -> None:
    dice = seeded()
    # a predicted TTL of answers that always change may expire before a slow round ends
    with a_house(LLMCTL_LIMITS__QUEUE="1000", LLMCTL_CACHE__TTL="30d") as house:
        house.echo()
        house.ok("embed", "warm up")
        for _ in range(count(ROUNDS)):
            writes = count(WRITES)
            acknowledged = write(house, writes, dice.randrange(1, writes), dice)
            entries, questions = check(house, acknowledged), agree(house)
            print(f"killed after {len(acknowledged)} questions: {entries} entries, all whole; {questions} in the index")
            house.ok("cache", "clear", "--yes")
