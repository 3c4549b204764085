"""The other commands: what they print, what they start, and what they refuse."""

import json
import os
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from llmctl import __version__, wire
from llmctl.cli import main
from llmctl.cli.console import quoting
from tests.client.conftest import MakeFake
from tests.e2e.house import PATIENCE_S, House

LOOKING = [
    ["ps"], ["models", "ls"], ["templates", "ls"], ["cache", "stats"], ["daemon", "status"], ["--version"],
    ["completion", "bash"], ["config", "show"], ["daemon", "stop"], ["daemon", "logs"], ["config", "path"],
]  # fmt: skip


def test_commands_that_only_look_start_no_hub_and_create_no_folder(house: House) -> None:
    for command in [house.spawn(*command, "--json") for command in LOOKING if command[0] != "completion"]:
        outcome = command.end()
        assert outcome.status in (0, 3)
        assert all(json.loads(line) for line in outcome.out.splitlines())
    assert not house.place.exists()


def test_ps(house: House, fake: MakeFake) -> None:
    outcome = house.ok("ps")
    assert (outcome.out, "not running" in outcome.err) == ("", True)
    fake()
    assert house.ok("ps", "--json").last["busy"] == 1
    lines = house.ok("ps").out.splitlines()
    assert lines[0].split() == [
        "NAME",
        "BACKEND",
        "PID",
        "STATE",
        "MEMORY",
        "CPU/GPU",
        "CONTEXT",
        "BUSY",
        "TOK/S",
        "UNTIL",
    ]
    assert lines[1].split() == ["fake", "echo", "7", "ready", "4.0", "KiB", "-", "128", "1/4", "-", "-"]


def test_the_version_with_and_without_a_hub(house: House, fake: MakeFake) -> None:
    assert house.ok("--version", "--json").last == {"version": __version__, "protocol": wire.PROTOCOL, "hub": None}
    hub = fake()
    assert house.ok("--version", "--json").last["hub"]["pid"] == hub.process.pid
    assert house.ok("--version").out.splitlines()[0] == f"llmctl {__version__}, protocol {wire.PROTOCOL}"


def test_status_running_and_stopped(house: House, fake: MakeFake) -> None:
    outcome = house.run("daemon", "status")
    assert (outcome.status, outcome.out) == (3, "stopped\n")
    stopped = house.run("daemon", "status", "--json").last
    hub = fake()
    running = house.ok("daemon", "status", "--json").last
    assert set(stopped) == set(running)
    assert (stopped["state"], running["state"], running["pid"]) == ("stopped", "running", hub.process.pid)
    assert house.ok("daemon", "status").out.startswith(f"running: pid {hub.process.pid}, version {__version__}")
    house.ok("daemon", "start")
    assert house.ok("daemon", "stop").out == "stopped\n"
    assert hub.process.wait(PATIENCE_S) == 0
    house.ok("daemon", "stop")


def test_stop_names_what_it_cancelled(house: House, fake: MakeFake) -> None:
    fake()
    asking = house.spawn("ask", "x", "-m", "slow")
    asking.first_byte()
    assert "0123 of fake" in house.ok("daemon", "stop", "--timeout", "0s").err


def test_cache_stats(house: House, fake: MakeFake) -> None:
    empty = house.ok("cache", "stats", "--json").lines
    assert [line["level"] for line in empty] == ["memory", "disk", "all"]
    left = wire.CacheStats(levels=[wire.LevelStats("memory", 9)], requests=10)
    (house.place / "state").mkdir(parents=True)
    (house.place / "state" / "cache-stats.json").write_bytes(msgspec.json.encode(left))
    assert house.ok("cache", "stats", "--json").lines[0]["hits"] == 9
    fake()
    lines = house.ok("cache", "stats", "--json").lines
    assert (lines[0]["hits"], lines[-1]["hit_rate"], lines[-1]["joined"]) == (3, 0.75, 1)
    assert "75.0 %" in house.ok("cache", "stats").out


def test_deleting_needs_yes_outside_a_terminal(house: House, fake: MakeFake) -> None:
    hub = fake()
    outcome = house.run("cache", "clear", "-m", "m")
    assert (outcome.status, "model m" in outcome.out, "--yes" in outcome.err) == (2, True, True)
    assert house.run("models", "rm", "m").status == 4, "nobody is asked about what is not there"
    (house.place / "models").mkdir(parents=True)
    (house.place / "models" / "m.json").write_bytes(b'{"name": "m", "target": "echo", "backend": "echo"}')
    assert house.run("models", "rm", "m").status == 2
    assert not hub.kinds()
    assert house.ok("cache", "clear", "--yes", "--json").last == {"entries": 5}
    house.ok("models", "rm", "m", "--yes")
    assert hub.kinds() == ["clear_cache", "remove_model"]


def test_models_are_sent_with_full_paths(house: House, fake: MakeFake) -> None:
    hub = fake()
    outcome = house.ok(
        "models", "add", "a", "x.gguf", "--alias", "b", "--alias", "c", "--set", "context=5", "--force", "--json"
    )
    request = hub.seen[-1]
    assert request["target"] == str(house.home / "x.gguf")
    assert (request["aliases"], request["settings"], request["force"]) == (["b", "c"], {"context": "5"}, True)
    assert outcome.last["name"] == "a"
    house.ok("models", "add", "e", "echo")
    assert hub.seen[-1]["target"] == "echo"
    house.ok("models", "load", "a")
    house.ok("models", "unload", "a")
    assert hub.kinds()[-2:] == ["load_model", "unload_model"]


def test_models_are_read_from_their_files(house: House) -> None:
    folder = house.place / "models"
    folder.mkdir(parents=True)
    for added, name in ((2, "young"), (1, "old")):
        entry = {"name": name, "target": "echo", "backend": "echo", "aliases": [f"{name}er"], "added": added}
        (folder / f"{name}.json").write_text(json.dumps(entry))
    assert [(line["name"], line["default"]) for line in house.ok("models", "ls", "--json").lines] == [
        ("old", True), ("young", False),
    ]  # fmt: skip
    assert house.ok("models", "show", "younger", "--json").last["name"] == "young"
    outcome = house.run("models", "show", "yung")
    assert outcome.status == 4
    assert "young" in outcome.err
    assert house.run("models", "unload", "old").status == 4


def test_removing_by_alias_names_the_model(house: House, fake: MakeFake) -> None:
    hub = fake()
    folder = house.place / "models"
    folder.mkdir(parents=True)
    entry = {"name": "small", "target": "echo", "backend": "echo", "aliases": ["s"]}
    (folder / "small.json").write_text(json.dumps(entry))
    assert house.ok("models", "rm", "s", "--yes").err == "llmctl: removed model small\n"
    assert house.ok("models", "rm", "s", "--yes", "--json").last == {"removed": "small"}
    assert hub.kinds() == ["remove_model", "remove_model"]


def test_models_show_includes_settings_from_the_configuration(house: House) -> None:
    folder = house.place / "models"
    folder.mkdir(parents=True)
    settings = {"slots": 2, "tags": ["a", "b"]}
    entry = {"name": "small", "target": "echo", "backend": "echo", "settings": settings}
    (folder / "small.json").write_text(json.dumps(entry))
    (house.place / "config.toml").write_text('[models.small]\nslots = 8\nprice_in = 0.5\nkeep_alive = "1h"\n')
    rows = [
        line.split(maxsplit=2)[1:] for line in house.ok("models", "show", "small").out.splitlines() if "setting" in line
    ]
    assert rows == [
        ["keep_alive", "3600.0 (models.small.keep_alive of the configuration)"],
        ["price_in", "0.5 (models.small.price_in of the configuration)"],
        ["slots", "8 (models.small.slots of the configuration, instead of 2)"],
        ["tags", "a, b"],
    ]
    shown = house.ok("models", "show", "small", "--json").last
    assert (shown["settings"], shown["overrides"]) == (settings, {"slots": 8, "price_in": 0.5, "keep_alive": 3600.0})


def test_templates_are_managed(house: House) -> None:
    house.ok("ask", "one {x}", "--save", "one", "-p", "x=1")
    assert house.ok("templates", "ls").out == "one\n"
    assert house.ok("templates", "show", "one", "--json").last["params"] == {"x": "1"}
    outcome = house.run("templates", "rm", "one")
    assert (outcome.status, outcome.out.strip().endswith("one.yaml")) == (2, True)
    house.ok("templates", "rm", "one", "--yes")
    assert house.run("templates", "rm", "one", "--yes").status == 5


def test_an_edited_template_is_checked(house: House) -> None:
    editor = house.home / "edit"
    editor.write_text('#!/bin/sh\nprintf "%s" "$TEXT" >"$1"\n')
    editor.chmod(0o700)
    assert house.run("templates", "edit", "t").status == 2, "no editor"
    house.ok("templates", "edit", "t", EDITOR=str(editor), TEXT="system: brief")
    assert house.ok("templates", "show", "t").out == "system: brief\n"
    outcome = house.run("templates", "edit", "t", VISUAL=str(editor), TEXT="sistem: brief")
    assert outcome.status == 2
    assert "sistem: unknown key" in outcome.err
    house.ok("templates", "edit", "new", EDITOR="true")
    assert house.ok("templates", "ls").out == "t\n", "an untouched beginning is not kept"


def test_logs_are_readable(house: House) -> None:
    log = house.place / "state" / "logs" / "hub.log"
    log.parent.mkdir(parents=True)
    log.write_text('{"timestamp":"T","level":"info","event":"e","request":"r"}\nno json\n')
    assert house.ok("daemon", "logs").out == "T INFO e request=r\nno json\n"
    assert house.ok("daemon", "logs", "-n", "1").out == "no json\n"
    assert house.shell("llmctl daemon logs --json -n 2 | head -1").out == log.read_text().splitlines(True)[0]


def test_followed_logs_survive_a_rotation(house: House) -> None:
    log = house.place / "state" / "logs" / "hub.log"
    log.parent.mkdir(parents=True)
    log.write_text("1\n")
    following = house.spawn("daemon", "logs", "-f")
    assert following.stdout is not None
    assert following.stdout.readline() == "1\n"
    with log.open("a") as file:
        file.write("2\n")
    assert following.stdout.readline() == "2\n"
    log.rename(log.with_suffix(".old"))
    log.write_text("3\n")
    assert following.stdout.readline() == "3\n"
    following.terminate()
    assert following.end().status == 143


def test_install_prints_and_writes_a_unit(house: House) -> None:
    text = house.ok("daemon", "install", "--print").out
    assert f'Environment="LLMCTL_HOME={house.place}"' in text
    unit = house.home / "user" / ".config" / "systemd" / "user" / "llmctld.service"
    assert not unit.exists()
    assert "systemctl --user" in house.ok("daemon", "install").out
    assert unit.read_text() == text


def test_config_show_names_the_sources(house: House) -> None:
    house.place.mkdir()
    file = house.place / "config.toml"
    file.write_text('[cache]\nttl = "2d"\n[models."a.b"]\ncontext = 5\n')
    outcome = house.ok("config", "show", "--json", LLMCTL_LIMITS__QUEUE="7")
    found = {line["key"]: (line["value"], line["source"]) for line in outcome.lines}
    assert found["cache.ttl"] == (172800.0, str(file))
    assert found["limits.queue"] == (7, "LLMCTL_LIMITS__QUEUE")
    assert found["models.a.b.context"] == (5, str(file))
    assert found["cache.enabled"] == (True, "default")
    assert 'cache.ttl = "2d"' in house.ok("config", "show").out


def test_config_show_of_a_key_or_a_section(house: House) -> None:
    line = house.ok("config", "show", "limits.queue", "--json", LLMCTL_LIMITS__QUEUE="7").last
    assert line == {"key": "limits.queue", "value": 7, "source": "LLMCTL_LIMITS__QUEUE"}
    keys = [line["key"] for line in house.ok("config", "show", "cache.prefetch", "--json").lines]
    assert keys == ["cache.prefetch.enabled", "cache.prefetch.budget_per_hour"]
    wrong = house.run("config", "show", "cache.tll")
    assert (wrong.status, wrong.out) == (5, "")
    assert "no setting 'cache.tll' is in effect" in wrong.err
    assert "cache.ttl" in wrong.err


def test_every_command_that_a_hint_names_exists() -> None:
    hints = [*quoting.IN_GROUPS.values(), *(f"`{command}`" for command in quoting.ELSEWHERE.values())]
    named = [command.split() for hint in hints for command in re.findall(r"`(llmctl [^`]*)`", hint)]
    for words in named:
        command: Any = typer.main.get_command(main.app)
        for word in words[1:]:
            if hasattr(command, "get_command") and not word.startswith("-"):
                command = command.get_command(None, word)
                assert command is not None, words
        options = [option for param in command.params for option in param.opts] + ["--help"]
        assert not [word for word in words if word.startswith("-") and word not in options], words


def test_config_init_check_and_path(house: House) -> None:
    found = house.ok("config", "path", "--json").last
    assert found["config"] == str(house.place / "config.toml")
    assert found["pulled"] == str(house.place / "pulled")
    assert found["history"] == str(house.place / "state" / "history.db")
    house.ok("config", "init")
    assert house.run("config", "init").status == 2
    house.ok("config", "init", "--force")
    assert house.ok("config", "check", "--json").last["ok"] is True


def test_a_broken_configuration(house: House) -> None:
    house.place.mkdir()
    (house.place / "config.toml").write_text("[cache]\nttll = 1\n")
    for command in (
        ["ask", "x"],
        ["ps"],
        ["models", "ls"],
        ["config", "check"],
        ["config", "show"],
        ["daemon", "start"],
    ):
        outcome = house.run(*command, "--json")
        assert (outcome.status, outcome.error["code"]) == (2, "config"), command
        assert "cache.ttll" in outcome.error["message"]
    for command in (["daemon", "stop"], ["config", "path"], ["--help"], ["ask", "--help"], ["--version"]):
        house.ok(*command)
    assert house.run("daemon", "status").status == 3


MISTAKES = [
    ("LLMCTL_CACHE__SHARED_URL", "http://x:hunter2@h/", "cache.shared_url must begin with one of redis://"),
    ("LLMCTL_CACHE__SHARED_URL", "host:6379", "cache.shared_url must begin with one of redis://"),
    ("LLMCTL_CACHE__SHARED_URL", "redis://:hunter2/x@h:6379/0", "cache.shared_url is not a valid address"),
    ("LLMCTL_CACHE__SHARED_URL", "redis://h:port/0", "cache.shared_url is not a valid address"),
    ("LLMCTL_CACHE__SHARED_URL", "redis://h:6379/answers", "cache.shared_url is not a valid address"),
    ("LLMCTL_CACHE__SHARED_URL", "redis://[::1/0", "cache.shared_url is not a valid address"),
    ("LLMCTL_CACHE__SHARED_URL", "unix://", "cache.shared_url names no socket"),
    ("LLMCTL_CACHE__SEMANTIC__JUDGE", "smal", "cache.semantic.judge: there is no model 'smal'"),
    ("LLMCTL_CACHE__SEMANTIC__JUDGE", "vectors", "cache.semantic.judge: the model vectors is of kind embedding"),
    ("LLMCTL_CACHE__SEMANTIC__MODEL", "nobody", "cache.semantic.model: there is no model 'nobody'"),
    ("LLMCTL_CACHE__SEMANTIC__MODEL", "my-small", "cache.semantic.model: the model my-small is of kind text"),
    ("LLMCTL_CACHE__SCOPE", '["usr"]', "cache.scope: 'usr' is not a field"),
]


@pytest.fixture
def two_models(house: House) -> House:
    (house.place / "models").mkdir(parents=True)
    for name, kind in (("small", "text"), ("vectors", "embedding")):
        entry = {"name": name, "target": "http://h/v1", "backend": "remote", "kind": kind, "aliases": [f"my-{name}"]}
        (house.place / "models" / f"{name}.json").write_text(json.dumps(entry))
    return house


@pytest.mark.parametrize(("variable", "value", "words"), MISTAKES)
def test_config_check_reports_names_that_do_not_exist(two_models: House, variable: str, value: str, words: str) -> None:
    two_models.variables[variable] = value
    for flags in ([], ["--json"]):
        outcome = two_models.run("config", "check", *flags)
        assert (outcome.status, outcome.out, words in outcome.err) == (2, "", True), outcome
        assert "hunter2" not in outcome.err
    assert "hunter2" not in two_models.ok("config", "show").out


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LLMCTL_CACHE__SHARED_URL", "rediss://ana:a%2Fb@h:6379/3?ssl_cert_reqs=none"),
        ("LLMCTL_CACHE__SHARED_URL", "valkey://[::1]"),
        ("LLMCTL_CACHE__SHARED_URL", "unix:///run/redis.sock?db=2"),
        ("LLMCTL_CACHE__SEMANTIC__JUDGE", "none"),
        ("LLMCTL_CACHE__SEMANTIC__JUDGE", ""),
        ("LLMCTL_CACHE__SEMANTIC__JUDGE", "my-small"),
        ("LLMCTL_CACHE__SEMANTIC__MODEL", "my-vectors"),
        ("LLMCTL_CACHE__SEMANTIC__MODEL", "all-MiniLM-L6-v2"),
    ],
)
def test_config_check_accepts_valid_settings(two_models: House, variable: str, value: str) -> None:
    assert two_models.ok("config", "check", **{variable: value}).err == ""


def test_the_traceback_of_a_bug_goes_to_the_log(house: House, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import llmctl.launch as l\nl.running = lambda paths: 1 / 0\n")
    outcome = house.run("ps", PYTHONPATH=str(tmp_path))
    assert outcome.status == 1
    assert "bug" in outcome.err
    assert "Traceback" not in outcome.err
    log = house.place / "state" / "logs" / "client.err"
    assert str(log) in outcome.err
    assert "ZeroDivisionError" in log.read_text()
    assert os.stat(log).st_mode & 0o077 == 0
    assert "Traceback" in house.run("ps", PYTHONPATH=str(tmp_path), LLMCTL_DEBUG="1").err


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (["nonsens"], "there is no command 'nonsens'", "`llmctl --help` lists the commands."),
        (["model"], "there is no command 'model'", "Did you mean: models? `llmctl --help` lists the commands."),
        (["run"], "there is no command 'run'", "Use `llmctl ask` or `llmctl chat`."),
        (["why is it?"], "there is no command 'why is it?'", 'To send a prompt, run `llmctl ask "why is it?"`.'),
        (["models", "nonsense"], "there is no command 'models nonsense'", "`llmctl models --help` lists the commands."),
        (
            ["models", "lod"],
            "there is no command 'models lod'",
            "Did you mean: load? `llmctl models --help` lists the commands.",
        ),
        (["models", "list"], "there is no command 'models list'", "Use `llmctl models ls`."),
        (["config", "get", "x"], "there is no command 'config get'", "Use `llmctl config show KEY`."),
        (["ps", "x"], "got unexpected extra argument(s) (x)", "`llmctl ps --help` lists the options."),
        (["--nonsense"], "no such option: --nonsense", "`llmctl --help` lists the options."),
        (["models", "show"], "missing argument 'NAME'", "`llmctl models show --help` lists the options."),
    ],
)
def test_a_wrong_command_line_gets_a_message_and_a_hint(
    house: House, arguments: list[str], message: str, hint: str
) -> None:
    outcome = house.run(*arguments)
    assert (outcome.status, outcome.out, outcome.err) == (2, "", f"llmctl: {message}\n{hint}\n")


def test_llmctl_alone_prints_three_first_steps_and_then_its_commands(house: House) -> None:
    outcome = house.run()
    assert (outcome.status, outcome.out) == (2, "")
    assert "Run language models on your own machine" in outcome.err
    before, _, after = outcome.err.partition("\nAsk:\n")
    steps = re.findall(r"^  (llmctl \w+ .*?)  ", before.partition("First steps:\n")[2], flags=re.M)
    assert [step.split()[1] for step in steps] == ["ask", "pull", "ask"]
    for name in main.COMMANDS:
        assert re.search(rf"^  {name} +[A-Z]", after, flags=re.M), name


def test_a_group_alone_lists_its_commands(house: House) -> None:
    outcome = house.run("models")
    assert (outcome.status, outcome.out) == (2, "")
    assert re.search(r"^  estimate +Estimate how much memory", outcome.err, flags=re.M)


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        (["cache", "clear", "--older"], "cache clear"),
        (["cache", "ls", "--user"], "cache ls"),
        (["--json", "cache", "replay", "x", "--bytes"], "cache replay"),
        (["ask", "models", "-m"], "ask"),
        (["models", "add", "x", "echo", "--set"], "models add"),
    ],
)
def test_an_option_without_its_value_leads_to_the_help_of_its_command(
    house: House, arguments: list[str], command: str
) -> None:
    outcome = house.run(*arguments)
    assert (outcome.status, outcome.out) == (2, "")
    assert f"option '{arguments[-1]}' requires an argument" in outcome.err
    assert f"`llmctl {command} --help` lists the options." in outcome.err


def test_an_unknown_command_in_json(house: House) -> None:
    assert house.run("ak", "--json").error["code"] == "usage"
