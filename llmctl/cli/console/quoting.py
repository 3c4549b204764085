"""Hints for words that the parser cannot place: a prompt that begins with -, one without quotes, a command of another program.

It looks only at the words of the command line; which options exist is typer's business.
"""

import difflib
import re
import shlex
from collections.abc import Iterable, Sequence

from llmctl.errors import short

TAKE_TEXT = ("ask", "embed")
"""Commands whose arguments are free text."""
OPTION = re.compile(r"--?[A-Za-z][A-Za-z0-9-]*(=.*)?", re.DOTALL)
"""What looks like an option, known or mistyped."""
ELSEWHERE = {
    "run": "llmctl ask` or `llmctl chat",
    "list": "llmctl models ls",
    "ls": "llmctl models ls",
    "show": "llmctl models show",
    "suggest": "llmctl models suggest",
    "rm": "llmctl models rm",
    "add": "llmctl models add",
    "start": "llmctl daemon start",
    "stop": "llmctl daemon stop",
    "status": "llmctl daemon status",
    "doctor": "llmctl daemon doctor",
    "logs": "llmctl daemon logs",
    "help": "llmctl --help",
    "version": "llmctl --version",
}
"""What people type for the command that llmctl calls otherwise, often because another program calls it so."""
EDIT = "Edit the file that `llmctl config path` names, then run `llmctl config check`."
IN_GROUPS = {
    "config get": "Use `llmctl config show KEY`.",
    "config ls": "Use `llmctl config show`.",
    "config list": "Use `llmctl config show`.",
    "config set": EDIT,
    "config edit": EDIT,
    "config unset": EDIT,
    "models alias": "Use `llmctl models set NAME --alias ALIAS`.",
    "models rename": "Use `llmctl models set NAME --alias ALIAS`.",
    "models unset": "Use `llmctl models set NAME --unset KEY`.",
    "models config": "Use `llmctl models set NAME KEY=VALUE`.",
    "models edit": "Use `llmctl models set NAME KEY=VALUE`.",
    "models update": "Use `llmctl models set NAME KEY=VALUE`, or `llmctl pull REPO --force`.",
    "models default": "Set `defaults.model` in the file that `llmctl config path` names, or use `llmctl ask -m NAME`.",
    "models list": "Use `llmctl models ls`.",
    "models ps": "Use `llmctl ps`.",
    "models remove": "Use `llmctl models rm`.",
    "models delete": "Use `llmctl models rm`.",
    "models info": "Use `llmctl models show`.",
    "models download": "Use `llmctl pull`.",
    "models search": "Use `llmctl models suggest` or `llmctl models find`.",
    "models start": "Use `llmctl models load`.",
    "models stop": "Use `llmctl models unload`.",
    "models run": "Use `llmctl ask -m NAME`.",
    "cache list": "Use `llmctl cache ls`.",
    "cache rm": "Use `llmctl cache clear`.",
    "templates list": "Use `llmctl templates ls`.",
    "templates add": "Use `llmctl ask --save NAME`.",
}
"""The same within a group of commands."""
PLAIN = re.compile(r"[^\"$`\\!]*")


def dashes_hint(arguments: Sequence[str]) -> str | None:
    """The hint for a text that begins with -; None if there is none, or if `--` precedes it."""
    words = [word for word in arguments if word not in ("-q", "--quiet", "--json")]
    if not words or words[0] not in TAKE_TEXT or "--" in words:
        return None
    text = next((word for word in words[1:] if len(word) > 1 and word[0] == "-" and not OPTION.fullmatch(word)), None)
    if text is None:
        return None
    return f"Put text that begins with - after all options and a --: `llmctl {words[0]} -- {_quoted(text)}`."


def _quoted(text: str) -> str:
    """The text as one argument in a shell, shortened."""
    shown = short(text)
    return f'"{shown}"' if PLAIN.fullmatch(shown) else shlex.quote(shown)


def unquoted(path: str, message: str) -> str | None:
    """The hint for a prompt whose words are several arguments."""
    if path != "llmctl ask" or "unexpected extra argument" not in message:
        return None
    return 'Quote a prompt of several words: `llmctl ask "why is the sky blue?"`.'


def command_hint(path: str, word: str, commands: Iterable[str]) -> str:
    """The hint for a command that does not exist: the one that was meant, if that can be told.

    `path` is the group in which it was sought, "llmctl" or as "llmctl models".
    """
    _, _, group = path.partition(" ")
    if (hint := IN_GROUPS.get(f"{group} {word}")) is not None:
        return hint
    if not group and word in ELSEWHERE:
        return f"Use `{ELSEWHERE[word]}`."
    if not group and " " in word:
        return f"To send a prompt, run `llmctl ask {_quoted(word)}`."
    near = difflib.get_close_matches(word, commands, n=1, cutoff=0.6)
    return (f"Did you mean: {near[0]}? " if near else "") + f"`{path} --help` lists the commands."
