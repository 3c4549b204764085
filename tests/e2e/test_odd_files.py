"""Files and paths that users have by accident: nested, aliased, a pipe, a folder, too long, not UTF-8. Never status 1."""

import os
from pathlib import Path

import pytest

from tests.e2e.house import House
from tests.e2e.test_bad_input import refused

BRACKETS = "[" * 20_000
TEMPLATES = {
    "prompt: " + BRACKETS: "line 1, column 108: it is nested more than 100 deep",
    "prompt: " + BRACKETS + "]" * 20_000: "nested more than 100 deep",
    "prompt: &a [*a]": "*a stands inside what it refers to",
    "prompt: hi\nprompt: ho": "line 2, column 1: the key 'prompt' stands twice",
    "prompt: hi\nseed: " + "9" * 5_000: "line 2, column 7: this is no int",
    "prompt: hi\n2020-01-01: 3": "2020_01_01: unknown key",
    "prompt: {? [a] : b}": "not valid YAML",
    "prompt: 0x1F": "prompt is 31; it must be a string",
}
CONFIGS = {
    "a = " + BRACKETS: "nested more than",
    "a = " + BRACKETS + "]" * 20_000: "nested more than",
    "a = 1\0": "Expected newline",
    "[limits]\nprompt_bytes = 1979-05-27": "limits.prompt_bytes",
    "[limits]\nqueue = " + "9" * 5_000: "5000 digits",
    '[cache]\ndisk_bytes = "' + "9" * 400 + 'G"': "cache.disk_bytes: '9999",
    '[cache]\nttl = "' + "9" * 400 + 'd"': "cache.ttl: '9999",
}


def test_a_template_that_cannot_be_one_is_refused(house: House) -> None:
    folder = house.place / "templates"
    folder.mkdir(parents=True)
    for text, words in TEMPLATES.items():
        (folder / "t.yaml").write_text(text)
        refused(house.run("ask", "-t", "t"), 2, words, folder / "t.yaml")


def test_a_date_in_a_template_is_text(house: House) -> None:
    (house.place / "templates").mkdir(parents=True)
    (house.place / "templates" / "t.yaml").write_text("prompt: hi\nparams: {day: 2020-01-01, no: 1}\nseed: 7\n")
    shown = house.ok("templates", "show", "t", "--json").last
    assert shown["params"] == {"day": "2020-01-01", "no": "1"}


def test_a_model_file_that_cannot_be_one_is_named_and_the_hub_starts(house: House) -> None:
    """One file that nobody can use costs one model."""
    folder = house.echo().place / "models"
    good = '{"name": "NAME", "target": "echo", "backend": "echo", "settings": {}}'
    broken = {
        "deep": '{"settings": {"a": ' + BRACKETS + "]" * 20_000 + "}}",
        "wrong": good.replace("{}", '{"slots": "many", "preload": true}'),
        "new": good.replace("{}", '{"slotz": 1}'),
        "kind": good.replace('"settings"', '"kind": "none", "settings"'),
        "strange": good.replace('"backend": "echo"', '"backend": "strange"'),
        "copy": good.replace("NAME", "echo"),
        "out": good.replace("NAME", "../../out"),
        "alias": good.replace('"settings"', '"aliases": ["a b"], "settings"'),
    }
    for name, text in broken.items():
        (folder / f"{name}.json").write_text(text.replace("NAME", name))
    os.mkfifo(folder / "pipe.json")
    (folder / "zero.json").symlink_to("/dev/zero")
    house.ok("daemon", "restart")
    assert house.ok("ask", "hi", "-m", "echo", "--no-stdin").out == "hi\n"
    listed = house.ok("models", "ls")
    assert [line["name"] for line in house.ok("models", "ls", "--json").lines] == ["echo"]
    for name in (*broken, "pipe", "zero"):
        assert f"cannot read {folder / name}.json: " in listed.err, listed
        refused(house.run("ask", "hi", "-m", name), 4, folder / f"{name}.json", "damaged")


def test_a_row_or_template_reads_no_pipe(house: House) -> None:
    """It may come from somebody else, and would hold up whoever uses it."""
    house.echo()
    os.mkfifo(house.home / "pipe")
    (house.home / "rows.jsonl").write_text('{"prompt": "x", "file": ["pipe"]}\n')
    refused(house.run("cache", "warm", "rows.jsonl"), 5, "line 1", house.home / "pipe", "not a regular file")
    (house.home / "t.yaml").write_text("prompt: x\nfile: pipe\n")
    refused(house.run("ask", "-t", "./t.yaml"), 5, house.home / "pipe", "not a regular file")


def test_a_pipe_that_the_user_names_is_read_to_its_end(house: House) -> None:
    house.echo()
    assert "from a pipe" in house.shell("llmctl ask hi -f <(echo from a pipe) --no-stdin").out
    assert house.shell("""llmctl ask hi --schema <(echo '{"type": "integer"}') --no-stdin""").out == "0\n"
    warmed = house.shell("""llmctl cache warm <(echo '{"prompt": "x"}')""")
    assert (warmed.status, "1 generated" in warmed.err) == (0, True), warmed


def test_what_has_no_end_is_refused(house: House) -> None:
    house.echo()
    refused(house.run("ask", "hi", "-f", "/dev/zero"), 5, "/dev/zero has more than")
    refused(house.run("cache", "warm", "/dev/zero"), 5, "line 1 of /dev/zero has more than")
    refused(house.run("cache", "replay", "/dev/zero"), 5, "line 1 of /dev/zero has more than")
    refused(house.run("config", "check", LLMCTL_CONFIG="/dev/zero"), 2, "/dev/zero: it is not a regular file")


def test_a_file_name_that_is_no_text_can_be_reported_in_json(house: House) -> None:
    outcome = house.run("templates", "show", os.fsdecode(b"./\xff.yaml"), "--json")
    refused(outcome, 5)
    assert outcome.error["message"] == "there is no template file ./?.yaml"


def test_a_configuration_that_cannot_be_one_is_refused(house: House) -> None:
    file = house.place / "config.toml"
    house.place.mkdir()
    for text, words in CONFIGS.items():
        file.write_text(text)
        refused(house.run("ask", "hi"), 2, words, file)


def test_pipe_in_place_of_a_file_is_refused_and_not_waited_for(house: House) -> None:
    folder = house.place / "templates"
    folder.mkdir(parents=True)
    os.mkfifo(folder / "t.yaml")
    refused(house.run("ask", "-t", "t"), 2, folder / "t.yaml", "not a regular file")
    os.mkfifo(house.place / "config.toml")
    refused(house.run("ask", "hi"), 2, house.place / "config.toml", "not a regular file")


def test_folder_in_place_of_the_configuration_is_named(house: House) -> None:
    (house.place / "config.toml").mkdir(parents=True)
    refused(house.run("config", "check"), 2, "config.toml: it is not a regular file")
    refused(house.run("config", "init", "--force"), 14, "Is a directory", "remove it")


@pytest.mark.parametrize("arguments", ["models add m NAME", "embed hi -o NAME.npy", "ask hi -t NAME.yaml"])
def test_path_that_is_too_long_is_named(house: House, arguments: str) -> None:
    refused(house.run(*arguments.replace("NAME", "n" * 300).split()), 2, "File name too long", "nnn")


def test_home_that_cannot_be_one_is_named(house: House) -> None:
    refused(house.run("ask", "hi", LLMCTL_HOME="/tmp/" + "h" * 300), 2, "File name too long")
    odd = os.fsdecode(b"/tmp/llmctl-\xff")
    refused(house.run("ask", "hi", LLMCTL_HOME=odd), 3, r"LLMCTL_HOME is not UTF-8: /tmp/llmctl-\xff")
    assert not Path(odd).exists()
