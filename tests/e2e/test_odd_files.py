"""Files and paths that users have by accident: nested, aliased, a pipe, a folder, too long, not UTF-8. Never status 1."""

import os
from pathlib import Path

import pytest

from tests.e2e.house import House
from tests.e2e.test_bad_input import refused

BRACKETS = "[" * 20_000
TEMPLATES = {
    "prompt: " + BRACKETS: "nested too deeply",
    "prompt: " + BRACKETS + "]" * 20_000: "nested too deeply",
    "prompt: &a [*a]": "nested too deeply",
    "prompt: hi\nparams: {day: 2020-01-01}": '"day":"2020-01-01"',
    "prompt: hi\n2020-01-01: 3": "2020_01_01: unknown key",
    "prompt: {? [a] : b}": "not valid YAML",
    "prompt: 0x1F": "prompt is 31; it must be a string",
}
CONFIGS = {
    "a = " + BRACKETS: "nested more than",
    "a = " + BRACKETS + "]" * 20_000: "nested more than",
    "a = 1\0": "Expected newline",
    "[limits]\nprompt_bytes = 1979-05-27": "limits.prompt_bytes",
}


def test_a_template_that_cannot_be_one_is_refused(house: House) -> None:
    folder = house.place / "templates"
    folder.mkdir(parents=True)
    for text, words in TEMPLATES.items():
        (folder / "t.yaml").write_text(text)
        refused(house.run("ask", "-t", "t"), 2, words, folder / "t.yaml")


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
    refused(house.run("config", "check"), 2, "config.toml is not a regular file")
    refused(house.run("config", "init", "--force"), 14, "Is a directory", "remove it")


@pytest.mark.parametrize("arguments", ["models add m NAME", "embed hi -o NAME.npy", "ask hi -t NAME.yaml"])
def test_path_that_is_too_long_is_named(house: House, arguments: str) -> None:
    refused(house.run(*arguments.replace("NAME", "n" * 300).split()), 2, "File name too long", "nnn")


def test_home_that_cannot_be_one_is_named(house: House) -> None:
    refused(house.run("ask", "hi", LLMCTL_HOME="/tmp/" + "h" * 300), 2, "File name too long")
    odd = os.fsdecode(b"/tmp/llmctl-\xff")
    refused(house.run("ask", "hi", LLMCTL_HOME=odd), 3, r"LLMCTL_HOME is not UTF-8: /tmp/llmctl-\xff")
    assert not Path(odd).exists()
