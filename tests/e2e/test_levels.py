"""The levels of the cache by the installed command: memory, disk, shared server; their reports and failures."""

import json
import shutil
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.house import House, Outcome, gone, until
from tests.e2e.house import house as a_house
from tests.redis_server import RedisServer, a_redis, needs_redis

PASSWORD = "hunter2/x"


def ask(house: House, text: str, *options: object) -> Outcome:
    return house.ok("ask", text, "--json", "--no-stream", *options)


def hit(outcome: Outcome) -> str | None:
    found: str | None = outcome.last["cache"]["hit"]
    return found


def level(house: House, name: str) -> dict[str, Any]:
    return next(line for line in house.ok("cache", "stats", "--json").lines if line["level"] == name)


def listed(house: House, *options: str) -> list[str]:
    return [line["prompt"] for line in house.ok("cache", "ls", "--json", *options).lines]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with a_redis() as server:
        yield server


# ---- a server that hubs share ---------------------------------------------------------------------------------------


@needs_redis
def test_a_shared_answer_keeps_the_ttl_of_the_hub_that_stored_it(redis: RedisServer) -> None:
    """One hub has a TTL of 1,000 s, the other of an hour: a copy expires with the original."""
    with a_house(LLMCTL_CACHE__SHARED_URL=redis.url(), LLMCTL_CACHE__TTL="1000s") as one:
        one.echo()
        key = ask(one, "hello", "--user", "ana").last["cache"]["key"]
        (there,) = one.ok("cache", "ls", "--json").lines
        with a_house(LLMCTL_CACHE__SHARED_URL=redis.url(), LLMCTL_CACHE__TTL="1h") as other:
            other.echo()
            assert hit(ask(other, "hello", "--user", "bob")) is None, "the scope holds on the shared level too"
            assert hit(ask(other, "hello", "--user", "ana")) == "shared"
            assert hit(ask(other, "hello", "--user", "ana")) == "memory"
            shown = other.ok("cache", "show", key, "--json").last
            assert [line["level"] for line in shown["levels"]] == ["memory", "disk", "shared"]
            assert all(line["left_s"] <= 1000 for line in shown["levels"])
            assert shown["expires"] == pytest.approx(there["expires"], abs=2)
            assert (shown["user"], shown["text"]) == ("ana", "hello")
            other.ok("daemon", "restart")
            assert hit(ask(other, "hello", "--user", "ana")) == "disk"
            assert level(other, "shared")["entries"] == 2


@needs_redis
def test_clear_and_refresh_reach_every_level(redis: RedisServer) -> None:
    with a_house(LLMCTL_CACHE__SHARED_URL=redis.url()) as house:
        house.echo()
        ask(house, "one", "--tag", "x")
        ask(house, "two")
        assert redis.keys() == 2
        house.ok("cache", "clear", "--tag", "x", "--yes")
        assert redis.keys() == 1
        assert hit(ask(house, "one")) is None
        house.ok("cache", "clear", "--yes")
        assert redis.keys() == 0
        ask(house, "two", "--refresh")
        assert redis.keys() == 1


@needs_redis
def test_a_killed_shared_server_fails_no_request_and_reconnects_by_itself(redis: RedisServer) -> None:
    with a_house(LLMCTL_CACHE__SHARED_URL=redis.url()) as house:
        house.echo()
        ask(house, "before")
        assert level(house, "shared")["state"] == "ok"
        redis.kill()
        said = house.ok("ask", "while it is gone")
        assert said.out == "while it is gone\n"
        assert hit(ask(house, "before")) == "memory"
        broken = level(house, "shared")
        assert broken["state"] == "failing"
        assert broken["errors"] >= 1
        assert "shared level of the cache fails" in said.err + house.ok("ask", "and now?").err
        assert '"a cache level fails"' in house.log.read_text()
        redis.start()
        until(lambda: level(house, "shared")["state"] == "ok")
        key = ask(house, "after").last["cache"]["key"]
        assert redis.ask("EXISTS", f"llmctl:answer:{key}") == b":1\r\n"
        assert level(house, "shared")["hits"] == 0
        assert level(house, "shared")["p50_ms"] > 0


@needs_redis
def test_a_wrong_password_is_reported_once_and_written_nowhere() -> None:
    with a_redis(password="right", tcp=True) as server:
        url = server.url(PASSWORD.replace("/", "%2F"))
        with a_house(LLMCTL_CACHE__SHARED_URL=url) as house:
            house.echo()
            outcome = house.ok("ask", "hello")
            assert outcome.out == "hello\n"
            later = house.ok("ask", "hello again")
            assert (outcome.err + later.err).count("shared level of the cache fails") == 1
            found = level(house, "shared")
            assert found["state"] == "failing"
            assert "password" in found["error"]
            told = [outcome.err, later.err, str(found), house.ok("cache", "stats").out, house.ok("config", "show").out]
            house.stop()
            files = [path for path in house.place.rglob("*") if path.is_file()]
            told += [path.read_bytes().decode("latin-1") for path in files]
            assert any("a cache level fails" in text for text in told)
            for text in told:
                assert "hunter2" not in text


def test_an_unreachable_or_invalid_shared_url_makes_the_level_fail(house: House) -> None:
    house.echo()
    for url, words in (("redis://127.0.0.1:1/0", "refused"), ("http://x:hunter2@h/", "must begin with one of")):
        house.variables["LLMCTL_CACHE__SHARED_URL"] = url
        house.run("daemon", "restart")
        outcome = ask(house, url)
        assert hit(outcome) is None
        found = level(house, "shared")
        assert (found["state"], words in found["error"], "hunter2" in found["error"]) == ("failing", True, False)


# ---- ls, show, clear ------------------------------------------------------------------------------------------------


@pytest.fixture
def stocked(house: House) -> House:
    house.echo().echo("second")
    for text, options in (
        ("one", ("--user", "ana", "--tag", "a", "--tag", "b")),
        ("two", ("--user", "ana", "--tag", "a", "-m", "second")),
        ("three", ("--user", "bob")),
    ):
        ask(house, text, *options)
    return house


CHOICES: list[tuple[tuple[str, ...], list[str]]] = [
    ((), ["one", "two", "three"]),
    (("--user", "ana"), ["one", "two"]),
    (("-m", "second"), ["two"]),
    (("--tag", "a"), ["one", "two"]),
    (("--tag", "a", "--tag", "b"), ["one"]),
    (("--newer", "1h"), ["one", "two", "three"]),
    (("--older", "1h"), []),
    (("--user", "ana", "-m", "echo", "--newer", "1h", "--tag", "b"), ["one"]),
    (("--user", "nobody"), []),
]


def test_cache_ls_filters_by_model_user_age_and_tag(stocked: House) -> None:
    for options, expected in CHOICES:
        assert listed(stocked, *options) == expected, options
    ask(stocked, "one", "--user", "ana")
    lines = {line["prompt"]: line for line in until(lambda: stocked.ok("cache", "ls", "--json").lines)}
    assert set(lines["one"]) == {
        "number", "key", "model", "user", "tags", "conversation", "created", "expires", "bytes", "seconds", "hits", "last_hit",
        "prompt",
    }  # fmt: skip
    assert (lines["one"]["tags"], lines["three"]["user"], lines["two"]["model"]) == (["a", "b"], "bob", "second")
    until(lambda: {line["prompt"]: line["hits"] for line in stocked.ok("cache", "ls", "--json").lines}["one"] == 1)
    table = stocked.ok("cache", "ls").out.splitlines()
    assert table[0].split() == ["KEY", "MODEL", "USER", "TAGS", "AGE", "LEFT", "BYTES", "HITS", "PROMPT"]
    assert len(table) == 4


def test_cache_show_prints_a_whole_entry(stocked: House) -> None:
    key = stocked.ok("cache", "ls", "--json", "--tag", "b").last["key"]
    shown = stocked.ok("cache", "show", key[:12], "--json").last
    assert (shown["key"], shown["text"], shown["prompt"], shown["user"]) == (key, "one", "one", "ana")
    assert [line["level"] for line in shown["levels"]] == ["memory", "disk"]
    assert shown["usage"]["completion_tokens"] > 0
    told = stocked.ok("cache", "show", key).out
    assert told.endswith("\none\n")
    assert "30 d" in told or "29 d" in told, "what is left of it"
    unknown = stocked.run("cache", "show", "feed", "--json")
    assert (unknown.status, unknown.error["code"]) == (5, "not_found")
    long = stocked.run("cache", "show", "feed" * 1000, "--json").error["message"]
    assert long == f"no stored answer has the key '{'feed' * 20}...'"


def test_cache_ls_and_show_escape_control_characters_except_in_json(house: House) -> None:
    house.echo()
    text = "red \x1b[31m title \x1b]0;x\x07 back \x9b2J \u202eturned"
    key = ask(house, text).last["cache"]["key"]
    assert (
        house.ok("cache", "ls", "--json").last["prompt"]
        == house.ok("cache", "show", key, "--json").last["text"]
        == text
    )
    for told in (house.ok("cache", "ls").out, house.ok("cache", "show", key).out):
        assert "\\x1b[31m title" in told
        assert not set("\x1b\x07\x9b\u202e") & set(told)
    missing = house.run("cache", "ls", "-m", "no\x1b[2J")
    assert (missing.status, "\x1b" in missing.err, "\\x1b[2J" in missing.err) == (4, False, True)


def test_cache_clear_removes_only_what_its_filters_select(stocked: House) -> None:
    refused = stocked.run("cache", "clear", "--user", "ana", "--tag", "a", "--older", "7d")
    assert refused.status == 2
    assert "user ana" in refused.out
    assert "7d" in refused.out
    assert stocked.ok("cache", "clear", "--older", "7d", "--yes", "--json").last == {"entries": 0}
    assert stocked.ok("cache", "clear", "-m", "second", "--yes", "--json").last == {"entries": 1}
    assert listed(stocked) == ["one", "three"]
    assert hit(ask(stocked, "two", "--user", "ana", "-m", "second")) is None
    assert stocked.ok("cache", "clear", "--user", "ana", "--yes", "--json").last == {"entries": 2}
    assert hit(ask(stocked, "three", "--user", "bob")) == "memory"
    stocked.ok("models", "rm", "second", "--yes")
    assert stocked.run("cache", "clear", "-m", "second", "--yes").status == 4


def test_the_answers_of_a_removed_model_can_be_cleared(house: House) -> None:
    house.echo().echo("old")
    ask(house, "hello", "-m", "old")
    house.ok("models", "rm", "old", "--yes")
    assert listed(house, "-m", "old") == ["hello"]
    assert house.ok("cache", "clear", "-m", "old", "--yes", "--json").last == {"entries": 1}
    assert house.run("cache", "ls", "-m", "old").status == 4


def test_cache_ls_and_show_start_no_hub_and_an_invalid_age_is_refused(house: House) -> None:
    for command in (["ls"], ["show", "abc"]):
        outcome = house.run("cache", *command)
        assert (outcome.status, outcome.out) == (3, "")
        assert "daemon start" in outcome.err
    assert not house.hub_runs()
    bad = house.run("cache", "ls", "--older", "yesterday")
    assert bad.status == 2
    assert "--older" in bad.err


def test_evicted_entries_leave_the_disk_and_the_list(house: House) -> None:
    house.variables |= {"LLMCTL_CACHE__DISK_BYTES": "64K", "LLMCTL_CACHE__MEMORY_BYTES": "1K"}
    house.echo()
    for number in range(12):
        ask(house, f"{number} " + "x" * 3000, "--max-tokens", "4000")
    disk = level(house, "disk")
    assert 2 <= disk["entries"] < 12
    assert disk["bytes"] <= 64 * 1024
    assert level(house, "memory")["entries"] == 0, "larger than it takes"
    until(lambda: len(listed(house)) == level(house, "disk")["entries"])


# ---- failures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["cache.db", "answers/cache.db", "both"])
def test_a_damaged_database_is_set_aside_and_reported_and_the_hub_starts(house: House, file: str) -> None:
    house.echo()
    ask(house, "hello")
    house.stop()
    names = ["cache.db", "answers/cache.db"] if file == "both" else [file]
    for name in names:
        for path in (house.place / "cache").glob(f"{name}*"):
            path.write_bytes(b"damaged" * 3000)
    outcome = ask(house, "hello")
    assert hit(outcome) == ("disk" if names == ["cache.db"] else None)
    said = outcome.err + ask(house, "again").err
    assert said.count("damaged and") + said.count("was damaged (") == len(names)
    aside = {path.name.partition(".damaged")[0] for path in (house.place / "cache").glob("*.damaged-*")}
    assert aside >= {name.partition("/")[0] for name in names}
    until(lambda: listed(house) == ["hello", "again"], what="the book, made again")
    assert {level(house, name)["state"] for name in ("memory", "disk")} == {"ok"}
    house.ok("daemon", "restart")
    assert hit(ask(house, "hello")) == "disk"


def test_a_folder_in_place_of_cache_db_is_set_aside_at_the_start(house: House) -> None:
    book = house.place / "cache" / "cache.db"
    book.mkdir(parents=True)
    house.echo()
    assert [hit(ask(house, "hello")) for _ in range(2)] == [None, "memory"]
    until(lambda: listed(house) == ["hello"], what="the book")
    (aside,) = book.parent.glob("cache.db.damaged-*")
    assert aside.is_dir()
    assert "Traceback" not in house.log.read_text()


def test_a_folder_that_replaced_cache_db_is_set_aside(house: House) -> None:
    house.echo()
    ask(house, "hello")
    until(lambda: listed(house) == ["hello"])
    book = house.place / "cache" / "cache.db"
    with house.still():
        for path in book.parent.glob("cache.db*"):
            path.unlink()
        book.mkdir()
    ask(house, "again")
    until(lambda: sorted(listed(house)) == ["again", "hello"], what="the book, made again")
    (aside,) = book.parent.glob("cache.db.damaged-*")
    assert aside.is_dir()


def test_a_database_damaged_while_in_use_is_created_anew(house: House) -> None:
    house.variables["LLMCTL_CACHE__MEMORY_BYTES"] = "0"
    house.echo()
    ask(house, "hello " + "x" * 3000)
    for path in (house.place / "cache" / "answers").glob("cache.db*"):
        with path.open("r+b") as file:
            file.write(b"\xff" * 100_000)
    until(lambda: hit(ask(house, "hello " + "x" * 3000)) == "disk")
    assert level(house, "disk")["state"] == "ok"


def test_a_damaged_page_sets_the_stored_answers_aside(house: House) -> None:
    """An index lost its entries, which SQLite's quick check does not find: the level failed for ever."""
    house.echo()
    ask(house, "hello")
    house.stop()
    database = house.place / "cache" / "answers" / "cache.db"
    with closing(sqlite3.connect(database)) as connection:
        ((page,),) = connection.execute("SELECT rootpage FROM sqlite_master WHERE name = 'Cache_expire_time'")
        ((size,),) = connection.execute("PRAGMA page_size")
        connection.execute("PRAGMA journal_mode = DELETE")
    empty = b"\x0a\0\0\0\0" + size.to_bytes(2, "big")
    with database.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(empty.ljust(size, b"\0"))
    assert hit(ask(house, "hello")) == "disk", "nothing is noticed yet"
    assert "the damaged files are now" in ask(house, "hello", "--refresh").err + ask(house, "again").err
    assert level(house, "disk")["state"] == "ok"
    assert list(database.parent.parent.glob("answers.damaged-*"))
    house.ok("daemon", "restart")
    assert hit(ask(house, "again")) == "disk"


@pytest.mark.parametrize("what", ["", "answers", "answers/cache.db", "cache.db"])
def test_cache_files_removed_under_a_running_hub_are_created_again(house: House, what: str) -> None:
    house.echo()
    for text in ("one", "two"):
        ask(house, text)
    until(lambda: listed(house) == ["one", "two"])
    removed = house.place / "cache" / what
    with house.still():
        if removed.is_dir():
            shutil.rmtree(removed)
        else:
            removed.unlink()
    outcomes = [ask(house, text) for text in ("three", "one")]
    assert [hit(outcome) for outcome in outcomes] == [None, "memory"]
    words = "the disk level of the cache was removed; what memory has is written again"
    assert "".join(outcome.err for outcome in outcomes).count(words) == (0 if what == "cache.db" else 1)
    assert level(house, "disk")["state"] == "ok"
    until(lambda: (house.place / "cache" / "cache.db").exists(), what="the book, made again")
    until(lambda: sorted(listed(house)) == ["one", "three", "two"], what="the rows of what memory and disk hold")
    house.ok("daemon", "restart")
    assert [hit(ask(house, text)) for text in ("three", "two")] == ["disk", "disk"], "memory had it"
    assert "Traceback" not in house.log.read_text()


def test_a_cache_that_cannot_be_recreated_is_failing_until_it_can(house: House) -> None:
    house.echo()
    ask(house, "one")
    place = house.place / "cache"
    with house.still():
        shutil.rmtree(place)
        place.write_text("somebody put a file here")
    told = "".join(ask(house, text).err for text in ("two", "three"))
    assert told.count("the disk level of the cache fails and is skipped until it works again") == 1
    assert [hit(ask(house, text)) for text in ("one", "two", "three")] == ["memory"] * 3
    assert level(house, "disk")["state"] == "failing"
    place.unlink()
    until(lambda: level(house, "disk")["state"] == "ok", what="it is tried again every ten seconds")
    assert hit(ask(house, "four")) is None
    house.ok("daemon", "restart")
    assert hit(ask(house, "four")) == "disk"


@pytest.fixture
def full(house: House) -> Iterator[Path]:
    """A cache folder of 2 MB by itself, where this user may mount one: 16 rows and their journals take 1 MB."""
    place = house.place / "cache"
    house.echo(context=20_000).stop()
    place.mkdir(exist_ok=True)
    command: list[str | Path] = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", place]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting needs privileges")
    yield place
    house.run("daemon", "stop")
    subprocess.run(["umount", "-l", place], check=False)


def filled(place: Path) -> Path:
    """A file that takes all the room there is."""
    filler = place / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return filler


@pytest.mark.parametrize("anew", [False, True], ids=["running", "begun on a full disk"])
def test_cache_clear_works_on_a_full_disk(house: House, full: Path, anew: bool) -> None:
    rows = [json.dumps({"prompt": f"row {number}", "text": "x" * 30_000}) for number in range(16)]
    house.ok("cache", "warm", "-", stdin="\n".join(rows))
    if anew:
        house.stop()
    filled(full)
    house.ok("cache", "warm", "-", stdin=json.dumps({"prompt": "there is no room", "text": "y" * 100_000}))
    assert level(house, "disk")["state"] == "failing"
    assert house.ok("cache", "clear", "--yes", "--json").last["entries"] >= (0 if anew else len(rows))
    disk = level(house, "disk")
    assert (disk["state"], disk["entries"]) == ("ok", 0), disk["error"]
    assert shutil.disk_usage(full).free > 200 * 1024
    for number in range(2):
        assert hit(ask(house, f"row {number}")) is None
    house.ok("daemon", "restart")
    assert hit(ask(house, "row 0")) == "disk"
    assert "Traceback" not in house.log.read_text()


def test_a_full_disk_fails_no_request_is_reported_and_recovers(house: House, full: Path) -> None:
    house.variables["LLMCTL_CACHE__MEMORY_BYTES"] = "1M"
    assert hit(ask(house, "kept")) is None
    filler = filled(full)
    text = "t" * 5000
    told = ""
    for number in range(4):
        outcome = house.ok("ask", f"{number}{text}", "--max-tokens", "6000")
        assert outcome.out == f"{number}{text}\n", "the answer comes, whatever the disk says"
        told += outcome.err
    assert told.count("the disk level of the cache fails") == 1
    assert "full" in told or "No space" in told
    assert level(house, "disk")["state"] == "failing"
    assert hit(ask(house, f"0{text}", "--max-tokens", "6000")) == "memory"
    filler.unlink()
    again = ask(house, "room again")
    assert hit(again) is None
    assert level(house, "disk")["state"] == "ok"
    house.ok("daemon", "restart")
    assert hit(ask(house, "kept")) == hit(ask(house, "room again")) == "disk"
    until(lambda: len(listed(house)) == level(house, "disk")["entries"])


def test_an_answer_over_the_limit_of_every_level_is_served_and_not_stored(house: House) -> None:
    house.variables |= {"LLMCTL_CACHE__DISK_BYTES": "2K", "LLMCTL_CACHE__MEMORY_BYTES": "2K"}
    house.echo()
    ask(house, "small")
    text = "x" * 3000
    for _ in range(2):
        outcome = house.ok("ask", text, "--max-tokens", "4000")
        assert outcome.out == text + "\n"
        assert "not stored" in outcome.err
        assert "2048" in outcome.err
    assert hit(ask(house, "small")) == "memory", "nothing was evicted for what does not fit anyway"
    assert listed(house) == ["small"]


def test_entries_and_cache_db_agree_after_a_kill_of_the_hub(house: House) -> None:
    house.echo()
    for text in ("one", "two"):
        ask(house, text)
    hub = house.hub()
    hub.kill()
    gone([hub])
    with closing(sqlite3.connect(house.place / "cache" / "cache.db")) as book, book:
        book.execute("DELETE FROM entries WHERE prompt = 'one'")
    shutil.rmtree(house.place / "cache" / "answers" / "tmp", ignore_errors=True)
    assert hit(ask(house, "two")) == "disk"
    until(lambda: sorted(listed(house)) == ["one", "two"], what="the row of an entry that had none")
