"""Who gets in: other users of the machine at the socket and at the folders on the way to it, and secrets on their way out."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from llmctld.doctor.__main__ import configuration, folders

from llmctl.paths import find_paths
from tests.e2e.house import House, Outcome
from tests.e2e.house import house as a_house
from tests.faulty_server import Exchange, cut, plain, server, status
from tests.impostor import OTHER, Impostor, impostor, needs_root

BOTH = f"belongs to user {OTHER}, and this is user 0"


def refused(house: House, other: Impostor) -> None:
    """Every command that would speak to a hub says whose socket or folder it found, and sends nothing."""
    for command in (("ask", "a secret"), ("pull", "some/model"), ("ps",), ("daemon", "status"), ("daemon", "stop")):
        outcome = house.run(*command, HF_TOKEN="hf_secret")
        assert outcome.status == 3, outcome
        assert BOTH in outcome.err, outcome
        assert outcome.out == ""
        assert "LLMCTL_HOME" in outcome.err
    assert other.end() == "", "it was sent nothing"


@needs_root
def test_a_socket_of_another_user_is_sent_nothing(house: House) -> None:
    run = house.place / "run"
    run.mkdir(parents=True)
    run.chmod(0o777)
    house.home.chmod(0o711)
    with impostor(run / "hub.sock") as other:
        run.chmod(0o700)
        (run / "hub.json").write_text(f'{{"pid": {other.pid}, "version": "0.1.0", "protocol": 1, "socket": "x"}}')
        refused(house, other)


@needs_root
def test_a_parent_of_another_user_is_refused(house: House) -> None:
    run = house.place / "run"
    run.mkdir(parents=True)
    for folder in (house.place, run):
        os.chown(folder, OTHER, OTHER)
    house.home.chmod(0o711)
    with impostor(run / "hub.sock") as other:
        os.chown(run, 0, 0)  # only the folder above is theirs
        refused(house, other)
    checks = {check.check: check for check in folders(find_paths({"LLMCTL_HOME": str(house.place)}))}
    assert (checks["way to the socket"].state, BOTH in checks["way to the socket"].detail) == ("fail", True)


@needs_root
def test_the_short_link_of_a_long_home_is_not_shared_with_another_user(house: House) -> None:
    """The name of the link in /tmp can be predicted."""
    place = house.home / ("deep" * 20) / ("deeper" * 20)
    link = find_paths({"LLMCTL_HOME": str(place)}).socket.parent
    assert link.parent == Path("/tmp")
    link.mkdir()
    try:
        os.chown(link, OTHER, OTHER)
        with impostor(link / "hub.sock") as other:
            for command in (("ask", "a secret"), ("pull", "some/model")):
                outcome = house.run(*command, LLMCTL_HOME=str(place), HF_TOKEN="hf_secret")
                assert outcome.status == 3, outcome
                assert f"{link}" in outcome.err
                assert BOTH in outcome.err
            assert house.run("ps", LLMCTL_HOME=str(place)).out == ""
            assert other.end() == ""
    finally:
        for file in link.iterdir():
            file.unlink()
        link.rmdir()


def test_a_parent_that_everybody_may_write_into_is_refused(house: House) -> None:
    house.place.mkdir()
    house.place.chmod(0o777)
    outcome = house.run("ask", "hi")
    assert outcome.status == 3
    assert f"can write to the folder {house.place} (mode 777)" in outcome.err
    assert f"chmod go-w {house.place}" in outcome.err
    assert not (house.place / "run").exists()
    house.place.chmod(0o755)
    house.echo()
    assert house.ok("ask", "hi").out == "hi\n"


# ---- secrets --------------------------------------------------------------------------------------------------------

S = "PLANTED0secret"
"""Part of every secret here."""


async def repeat_the_key(exchange: Exchange) -> None:
    """As some endpoints do when they refuse."""
    await status(401, f"wrong key: {exchange.asked.headers.get('authorization')}")(exchange)


async def point_elsewhere(exchange: Exchange) -> None:
    await status(302, Location=f"http://u:{S}@127.0.0.1:1/v1?api_key={S}")(exchange)


async def fail_with_the_key(exchange: Exchange) -> None:
    key = exchange.asked.headers.get("authorization", "").removeprefix("Bearer ")
    await exchange.head()
    await exchange.say("begun")
    await exchange.event(error={"message": f"the account of {key} has no money", "code": "x"})


ANSWERS = (
    repeat_the_key, point_elsewhere, fail_with_the_key, status(403, f"Bearer {S}"), status(404, f"?api_key={S}"),
    status(500, f"http://u:{S}@h"),
    plain(f"<html>Bearer {S}"), cut("half"),
)  # fmt: skip
PULLS: tuple[dict[str, str], ...] = (
    {"HF_TOKEN": f"hf_{S}\r", "HF_ENDPOINT": "http://127.0.0.1:1"},
    {"HF_TOKEN": f"hf_{S}\r\nX-Other: {S}"},
    {"HF_TOKEN": f"hf_{S} {S}"},
    {"HF_TOKEN": f"hf_{S}ä"},
    {"HF_TOKEN": f"hf_{S}\x07"},
    {"HF_ENDPOINT": f"http://u:{S}@127.0.0.1:1"},
    {"HF_ENDPOINT": f"http://u:{S}"},
    {"HF_ENDPOINT": f"http://127.0.0.1:1/?key={S}"},
    {"HF_ENDPOINT": f"ftp://u:{S}@h"},
    {"HF_ENDPOINT": f"http://u:{S}@[h"},
)
TARGETS = (
    f"http://u:{S}@h/v1", f"http://u:{S}/v1", f"http://h/v1?key={S}", f"http://u:{S}@[h/v1", f"http://h/v1#{S}", f"http://{S}@h:99999/v1",
)  # fmt: skip
CONFIGURATIONS = (
    f'[cache]\nshared_url = "redis://u:{S}@h:x/0"', f'[cache]\nshared_url = ["redis://u:{S}@h"]', f'[cache]\nshared_url = redis://u:{S}@h',
    f'[cache]\n"redis://u:{S}@h" = 1', f'cache = "redis://u:{S}@h"', f'[cache]\nshared_url = "redis://u:{S}@h/ 0"',
)  # fmt: skip


def failures(house: House, url: str) -> Iterator[Outcome]:
    """More than thirty kinds of failure, each with a secret in a place that takes one."""
    for variables in PULLS:
        yield house.run("pull", "ana/tiny", **variables)  # type: ignore[arg-type]
    for target in TARGETS:
        yield house.run("models", "add", "other", target)
    yield house.run("models", "add", "other", url, "--api-key-env", f"sk-{S}aaaaaaaaaaaa")
    yield house.run("pull", "ana/tiny", f"hf_{S}aaaaaaaaaaaa")
    for name in ("spaced", "broken"):
        yield house.run("ask", "hi", "-m", name)
    for _ in ANSWERS:
        yield house.run("ask", "hi", "-m", "keyed", "--no-cache")
    yield house.run("ask", "hi", "-m", "proxied")
    yield house.run("config", "check", LLMCTL_CACHE__SHARED_URL=f"redis://u:{S}@h:x")
    del house.variables["LLMCTL_CACHE__SHARED_URL"]
    written = house.place / "config.toml"
    for text in CONFIGURATIONS:
        written.write_text(text)
        yield house.run("config", "check")
    written.unlink()


def test_a_proxy_whose_address_is_not_valid_is_named_without_its_password(house: House) -> None:
    house.variables |= {"HTTP_PROXY": f"http://u:{S}", "LLMCTL_LOGS__LEVEL": "debug"}
    house.ok("models", "add", "proxied", "http://example.invalid/v1")
    for said in (
        house.run("ask", "hi", "-m", "proxied"),
        house.run("pull", "ana/tiny", HF_ENDPOINT="http://127.0.0.1:1"),
    ):
        assert said.status == 4, said
        assert "the address of its proxy is not valid" in said.err
        assert S not in said.err
    assert S not in house.log.read_text()


def test_no_failure_carries_a_secret_anywhere(house: House) -> None:
    with server() as endpoint:
        house.variables |= {
            "KEY_GOOD": f"sk-{S}\r\n", "KEY_SPACED": f"a {S}", "KEY_BROKEN": f"{S}\r{S}",
            "HTTP_PROXY": f"http://u:{S}@127.0.0.1:1", "LLMCTL_LOGS__LEVEL": "debug", "LLMCTL_CACHE__SHARED_URL": f"redis://u:{S}@127.0.0.1:1/0\r",
        }  # fmt: skip
        for name, key, url in (
            ("keyed", "GOOD", endpoint.url), ("spaced", "SPACED", endpoint.url), ("broken", "BROKEN", endpoint.url),
            ("proxied", "GOOD", "http://example.invalid/v1"),
        ):  # fmt: skip
            house.ok("models", "add", name, url, "--api-key-env", f"KEY_{key}", "--set", "retries=0")
        told = house.ok("ask", "hi", "-m", "keyed")
        assert "KEY_GOOD has white space around it" in told.err
        assert "cache.shared_url has white space around it" in told.err
        assert endpoint.asked[0].headers["authorization"] == f"Bearer sk-{S}"
        endpoint.script += ANSWERS
        outcomes = list(failures(house, endpoint.url))
        for said in outcomes:
            assert said.status not in (0, 1), said
            assert S not in said.out + said.err, said
            assert "a bug" not in said.err, said
        assert len(outcomes) > 30
        assert "HF_TOKEN has white space around it" in outcomes[0].err
        assert "character 18 of" in outcomes[1].err
        for process in house.daemons():
            assert S not in " ".join(process.cmdline())
    house.stop()
    files = [file for file in house.home.rglob("*") if file.is_file() and not file.is_symlink()]
    assert house.log in files
    assert [file for file in files if S.encode() in file.read_bytes()] == []


# ---- files that a template names ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def desk() -> Iterator[House]:
    """A home with a secret file outside the current folder, and a folder of somebody's templates."""
    with a_house() as made:
        made.echo()
        outside = made.home / "outside"
        outside.mkdir()
        (outside / "shadow").write_text("root:x")
        (outside / "pair.json").write_text('{"type": "object", "properties": {}}')
        (outside / "rules.gbnf").write_text('root ::= "x"')
        (outside / "other.yaml").write_text("prompt: from outside")
        theirs = made.home / "theirs"
        theirs.mkdir()
        (theirs / "notes.txt").write_text("theirs")
        (theirs / "link.txt").symlink_to(outside / "shadow")
        (made.home / "desk").mkdir()
        (made.home / "desk" / "mine.txt").write_text("mine")
        yield made


def at_the_desk(house: House, line: str, **variables: str) -> Outcome:
    return house.shell(f"cd desk && llmctl {line}", **variables)  # type: ignore[arg-type]


def template(house: House, text: str, name: str = "t") -> None:
    (house.home / "theirs" / f"{name}.yaml").write_text(f"prompt: hi\n{text}\n")


@pytest.mark.parametrize(
    "text",
    [
        "file: [{outside}/shadow]", "file: ../outside/shadow", "file: ../theirs/link.txt", "file: [mine.txt, /etc/passwd]",
        "schema: {outside}/pair.json", "grammar: {outside}/rules.gbnf", "file: ~/../outside/shadow",
    ],
)  # fmt: skip
def test_a_template_reads_no_file_outside_its_own_and_the_current_folder(desk: House, text: str) -> None:
    template(desk, text.format(outside=desk.home / "outside"))
    outcome = at_the_desk(desk, "ask -t ../theirs/t.yaml -m echo --no-cache")
    assert (outcome.status, outcome.out) == (5, ""), outcome
    assert "theirs/t.yaml may not read" in outcome.err
    assert "templates.read_allow" in outcome.err
    assert "root:x" not in outcome.err


def test_the_first_file_that_a_template_reads_is_shown_once(desk: House) -> None:
    template(desk, f"file: [mine.txt, {desk.home}/theirs/notes.txt]", "shown")
    first = at_the_desk(desk, "ask -t ../theirs/shown.yaml -m echo")
    assert first.status == 0, first
    assert f"shown.yaml reads {desk.home}/desk/mine.txt" in first.err
    assert f"shown.yaml reads {desk.home}/theirs/notes.txt" in first.err
    assert "reads" not in at_the_desk(desk, "ask -t ../theirs/shown.yaml -m echo").err
    template(desk, f"file: {desk.home}/outside/shadow", "shown")
    for allowed in (f"{desk.home}/outside", f"{desk.home}/outside/shadow"):
        outcome = at_the_desk(
            desk, "ask -t ../theirs/shown.yaml -m echo", LLMCTL_TEMPLATES__READ_ALLOW=f'["{allowed}"]'
        )
        assert outcome.status == 0, outcome
        assert "root:x" in outcome.out
    template(desk, "file: nowhere.txt", "shown")
    missing = at_the_desk(desk, "ask -t ../theirs/shown.yaml -m echo")
    assert (missing.status, "there is no file nowhere.txt" in missing.err, "reads" in missing.err) == (5, True, False)
    template(desk, f"file: {desk.home}/outside/shadow", "shown")
    denied = at_the_desk(
        desk, "ask -t ../theirs/shown.yaml -m echo", LLMCTL_TEMPLATES__READ_ALLOW=f'["{desk.home}/out"]'
    )
    assert denied.status == 5
    wrong = at_the_desk(desk, "ask hi -m echo", LLMCTL_TEMPLATES__READ_ALLOW='["outside"]')
    assert (wrong.status, "not a full path" in wrong.err) == (2, True), wrong


def test_what_the_user_names_is_not_restricted_even_with_a_template(desk: House) -> None:
    template(desk, "file: [mine.txt]")
    outcome = at_the_desk(desk, "ask -t ../theirs/t.yaml -f ../outside/shadow -m echo")
    assert outcome.status == 0, outcome
    assert "root:x" in outcome.out


def test_a_line_of_cache_warm_reads_only_beside_its_file(desk: House) -> None:
    lines = [
        {"prompt": "a", "file": str(desk.home / "outside" / "shadow")},
        {"prompt": "b", "template": str(desk.home / "outside" / "other.yaml")},
        {"prompt": "c", "grammar": "../outside/rules.gbnf"},
        {"prompt": "d", "file": "mine.txt"},
        {"prompt": "e", "file": str(desk.home / "theirs" / "notes.txt")},
    ]
    rows = desk.home / "theirs" / "rows.jsonl"
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines))
    outcome = at_the_desk(desk, f"cache warm {rows} -m echo --json")
    assert outcome.status == 5
    assert [line["error"] is None for line in outcome.lines] == [False, False, False, True, True], outcome
    assert all("may not read" in line["error"]["message"] for line in outcome.lines[:3])
    assert outcome.err.count("reads") == 2
    piped = at_the_desk(desk, f"cache warm - -m echo --json < {rows}")
    assert [line["error"] is None for line in piped.lines] == [False, False, False, True, False], piped


def test_a_configuration_with_a_password_that_others_can_read_is_named(house: House) -> None:
    house.echo()
    file = house.place / "config.toml"
    file.write_text(f'[cache]\nshared_url = "redis://u:{S}@127.0.0.1:1/0"\n')
    for folder in (house.home, house.place):
        folder.chmod(0o711)
    words = f"{file} holds a password, and other users can read it"
    for mode, said in ((0o644, True), (0o640, False), (0o600, False)):
        house.home.chmod(0o711 if mode == 0o644 else 0o701)
        file.chmod(mode)
        for command in (("config", "check"), ("ask", "hi")):
            outcome = house.ok(*command)
            assert (words in outcome.err) == said, (oct(mode), outcome)
        found = [check.check for check in configuration(find_paths({"LLMCTL_HOME": str(house.place)}))]
        assert ("configuration secrets" in found) == said
