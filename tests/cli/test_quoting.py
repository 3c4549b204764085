"""The hint for a text that begins with `-`."""

import pytest

from llmctl.cli.console.quoting import dashes_hint
from tests.e2e.house import House


@pytest.mark.parametrize("text", ["-5 + 3?", "--what is this?", "- one\n- two", "-say hi", "-why?", "-3"])
def test_a_text_that_begins_with_a_dash_gets_a_hint(text: str) -> None:
    for command in ("ask", "embed"):
        hint = dashes_hint([command, "--json", "-m", "echo", text])
        assert hint is not None
        assert f'`llmctl {command} -- "{text}"`' in hint


def test_text_that_a_shell_would_change_is_in_single_quotes() -> None:
    assert "`llmctl ask -- '-$5 \"now\"'`" in (dashes_hint(["ask", '-$5 "now"']) or "")


@pytest.mark.parametrize(
    "arguments",
    [
        ["ask", "--temprature", "0"],
        ["ask", "-z"],
        ["ask", "--", "-5 + 3?"],
        ["models", "add", "-5 x"],
        ["ask", "-"],
        [],
        ["--json"],
    ],
)
def test_other_command_lines_get_no_hint(arguments: list[str]) -> None:
    assert dashes_hint(arguments) is None


def test_an_unquoted_prompt_gets_a_hint(house: House) -> None:
    outcome = house.run("ask", "why", "is", "the", "sky", "blue?")
    assert (outcome.status, "Quote a prompt" in outcome.err) == (2, True)
    assert "Quote a prompt" not in house.run("models", "show", "a", "b").err
