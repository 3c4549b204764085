"""Precedence of options, and how they are sent."""

import inspect
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from llmctl import errors, options, request, templates, wire
from llmctl.cli.asking import ask
from llmctl.config import Config, Defaults, Duration
from llmctl.options import Asked, Options
from llmctl.paths import Paths, os_user


def packed(paths: Paths, config: Config | None = None, **values: Any) -> wire.Generate:
    return request.pack(Asked(**values), paths, config or Config())


def template(paths: Paths, text: str, name: str = "t") -> None:
    templates.write(paths.templates / f"{name}.yaml", text)


def test_the_flags_of_ask_are_the_options_of_the_client() -> None:
    shell_only = {"save", "no_stream", "json", "no_stdin", "quiet"}
    flags = set(inspect.signature(ask.ask).parameters) - shell_only - {"prompt"}
    assert flags == set(Options.__struct_fields__)
    assert set(Asked.__struct_fields__) - set(Options.__struct_fields__) == {
        "prompt", "stdin", "tokens", "ignore_eos", "messages", "tools", "tool_choice",
    }  # fmt: skip


def test_every_option_changes_the_request(paths: Paths, tmp_path: Path) -> None:
    """Each option, given alone, changes the request (or, for --reasoning, what is shown)."""
    (tmp_path / "f").write_text("text")
    template(paths, "system: s")
    plain = packed(paths, user="u")
    samples: dict[str, Any] = {
        "template": "t", "param": {"a": "b"}, "file": [str(tmp_path / "f")], "logit_bias": {"5": 1.0}, "stop": ["x"],
        "tag": ["x"], "max_age": "1m", "timeout": 3, "keep_alive": "-1", "max_cost": "0.5",
        "tokens": [1], "user": "v", "messages": [{"role": "user", "content": "x"}], "tools": [{}], "grammar": str(tmp_path / "f"),
    }  # fmt: skip
    for name in Asked.__struct_fields__:
        value: Any = samples.get(name)
        if value is None:
            value = True if getattr(Asked(), name) is False else "x"
        changed = packed(paths, **{"user": "u", name: value})
        assert (changed != plain) is (name != "reasoning"), name


@pytest.mark.parametrize("group", options.EXCLUSIVE)
def test_mutually_exclusive_options_are_refused(paths: Paths, group: tuple[str, ...]) -> None:
    values: dict[str, Any] = {name: "x" if name == "conversation" else True for name in group}
    with pytest.raises(errors.Usage, match="exclude each other"):
        packed(paths, **values)


def test_options_override_the_template_and_the_template_the_defaults(paths: Paths) -> None:
    template(paths, "temperature: 0.3\nmodel: b\nseed: 4\nno-cache: true\nstop: END\nxl: true\n")
    config = Config(defaults=Defaults(model="c", top_k=9, timeout=Duration(60), user="conf"))
    asked = packed(paths, config, template="t", model="a", refresh=True)
    assert (asked.model, asked.temperature, asked.seed, asked.top_k) == ("a", 0.3, 4, 9)
    assert (asked.cache, asked.stop, asked.extract) == ("refresh", ["END"], "last")
    assert (asked.timeout, asked.user, asked.max_tokens) == (60.0, "conf", 2048)


def test_a_zero_overrides_the_template(paths: Paths) -> None:
    template(paths, "temperature: 0.3\nseed: 4")
    asked = packed(paths, template="t", temperature=0.0, seed=0)
    assert (asked.temperature, asked.seed) == (0.0, 0)


def test_template_parameters_are_merged_and_declared_ones_are_sent(paths: Paths) -> None:
    template(paths, "prompt: '{a} {b} {c}'\nparams: {a: null, b: 2, c: yes}\nparam: {b: 3}")
    asked = packed(paths, template="t", param={"a": "x"})
    assert asked.declared == {"a": None, "b": "2", "c": "true"}
    assert asked.params == {"a": "x", "b": "3"}
    template(paths, "prompt: '{a}'\nparams: [a]", "l")
    assert packed(paths, template="l").declared == {"a": None}


def test_a_prompt_is_joined_with_that_of_the_template(paths: Paths) -> None:
    template(paths, "prompt: |\n  Translate.\n")
    assert packed(paths, template="t", prompt="Guten Tag").prompt == "Translate.\n\nGuten Tag"
    assert packed(paths, template="t").prompt == "Translate.\n"
    template(paths, "prompt: 'Translate {prompt} now'", "p")
    asked = packed(paths, template="p", prompt="this")
    assert (asked.prompt, asked.params) == ("Translate {prompt} now", {"prompt": "this"})


def test_durations_are_parsed_or_refused(paths: Paths) -> None:
    assert packed(paths, max_age="2h", timeout="90s").max_age == 7200.0
    with pytest.raises(errors.Usage, match="--max-age"):
        packed(paths, max_age="soon")


def test_the_user_defaults_to_the_os_user(paths: Paths) -> None:
    assert packed(paths).user == os_user() != ""


@pytest.mark.parametrize(
    ("data", "where"), [(b"ab\xff", "byte 0xff at offset 2"), ("é\0".encode(), "byte 0x00 at offset 2")]
)
def test_a_file_that_is_not_text_is_refused(paths: Paths, tmp_path: Path, data: bytes, where: str) -> None:
    (tmp_path / "f").write_bytes(data)
    with pytest.raises(errors.InvalidRequest, match=where):
        packed(paths, file=[str(tmp_path / "f")])


def test_a_missing_file_suggests_similar_names(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(errors.NotFound) as caught:
        packed(paths, file=[str(tmp_path / "note.txt")])
    assert "notes.txt" in caught.value.hint
    with pytest.raises(errors.InvalidRequest, match="is a folder, not a file"):
        packed(paths, file=[str(tmp_path)])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("promt: x", r"promt: unknown key \(in .*t\.yaml\)"),
        ("template: x", "template: unknown key"),
        ("temperature: hot", 'temperature is "hot"; it must be a number'),
        ("- a", "is not a mapping"),
        ("prompt: [", "not valid YAML"),
        ("prompt: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ],
)
def test_an_invalid_template_is_refused_with_key_and_file(paths: Paths, text: str, words: str) -> None:
    template(paths, text)
    with pytest.raises(errors.ConfigError, match=words):
        packed(paths, template="t")


def test_the_hint_for_an_unknown_key_is_the_most_similar_one(paths: Paths) -> None:
    template(paths, "temprature: 1")
    with pytest.raises(errors.ConfigError) as caught:
        packed(paths, template="t")
    assert "temperature" in caught.value.hint


def test_a_saved_template_contains_what_was_given(paths: Paths) -> None:
    given = Asked(prompt="{who}?", system="s", temperature=0.0, param={"who": "me"}, tag=["x"], no_cache=True, user="u")
    file = templates.save(paths.templates, "kept", given.prompt, given).file
    assert stat.S_IMODE(file.parent.stat().st_mode) & 0o077 == 0
    asked = packed(paths, template="kept", user="v")
    assert (asked.prompt, asked.system, asked.temperature, asked.declared) == ("{who}?", "s", 0.0, {"who": "me"})
    assert (asked.tags, asked.cache, asked.user) == (["x"], "skip", "v")
    assert os.listdir(paths.templates) == ["kept.yaml"]


def test_a_template_is_loaded_by_its_path(paths: Paths, tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text("system: s")
    assert packed(paths, template=str(tmp_path / "x.yaml")).system == "s"
    with pytest.raises(errors.NotFound):
        packed(paths, template=str(tmp_path / "y.yaml"))
    with pytest.raises(errors.InvalidRequest):
        packed(paths, template="no name")
