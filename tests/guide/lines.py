"""Command lines: what each consists of, and whether one shows what a held-out question asks for.

Knows the live commands and their options; knows nothing of models, answers or how a command line is found in an answer.
"""

import functools
import itertools
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import typer

from llmctl.cli import main
from llmctl.cli.asking import chat

ROOT: Any = typer.main.get_command(main.app)
SHORT_FORMS = {"models pull": "pull"}
"""Two paths of one command."""
ANYWHERE = {"--json", "--quiet", "--yes"}
EVERYDAY = {
    "ask": {"--model", "--file", "--system", "--max-tokens", "--no-stream", "--no-stdin"},
    "chat": {"--model", "--system"},
    "embed": {"--model", "--file", "--output", "--no-stdin"},
    "models add": {"--alias", "--tag"},
    "pull": {"--as", "--alias", "--tag"},
    "models estimate": {"--context", "--slots", "--retained", "--kv-type"},
    "daemon logs": {"--lines", "--follow"},
    "daemon stop": {"--timeout"},
    "daemon restart": {"--timeout"},
    "cache replay": {"--history", "--bytes"},
    "cache warm": {"--model", "--user"},
    "cache undo": {"--user"},
}
"""Options of each command that may stand in any example. Another one makes it the answer to a different question."""
IN_CHAT = frozenset(re.findall(r"^(/\w+)", chat.HELP, flags=re.M))
OTHERS = {"make", "pip", "export", "keyring", "from", *IN_CHAT}
"""What else a right line may begin with: other programs, Python's `from`, and what is typed at the prompt of `chat`."""
ENDS = {"|", ";", "&&", "||", "#"}
"""What ends a command; the options behind it are those of another program, and a comment has none."""
FILE = {"config path", "config init", "daemon restart"}
"""Commands with which any setting is changed: they answer a question only beside the name of the setting."""


@dataclass(frozen=True)
class Line:
    """A command line, or the part of one that a right answer must contain.

    `before`: what stands before `llmctl` (variables, a pipe); `path`: "cache undo"; `options`: by their longest names;
    `words`: everything else.
    """

    before: tuple[str, ...]
    path: str
    options: frozenset[str]
    words: tuple[str, ...]


ADD = Line((), "models add", frozenset(), ())
"""A model of one's own: a file or a folder, not an endpoint, a model of ollama or the one for tests."""


@functools.cache
def parse(text: str) -> Line:
    """`[BEFORE] llmctl PATH [OPTION | WORD]...`. Raises ValueError for anything else and for an unknown option.

    A line of OTHERS (`make install`) has its words in `before` and no path.
    """
    tokens = _tokens(text)
    if tokens and tokens[0] in OTHERS:
        return Line(tuple(tokens), "", frozenset(), ())
    if "llmctl" not in tokens:
        raise ValueError(f"{text!r} has no llmctl in it")
    at = tokens.index("llmctl")
    first = list(itertools.takewhile(lambda token: token.startswith("-"), tokens[at + 1 :]))
    path, command, rest = _command(tokens[at + 1 + len(first) :])
    rest = first + rest
    known = _options(command)
    options, words = set(), []
    for at_word, token in enumerate(rest):
        name = token.partition("=")[0]
        if token in ENDS:
            words += [] if token == "#" else rest[at_word:]
            break
        if name in known:
            options.add(known[name])
            words += [token.partition("=")[2]] if "=" in token else []
        elif re.match(r"--?[a-zA-Z]", token) and "--" not in words:
            raise ValueError(f"{text!r}: {path or 'llmctl'} has no option {name}")
        else:
            words.append(token)
    return Line(tuple(tokens[:at]), SHORT_FORMS.get(path, path), frozenset(options), tuple(words))


def is_right(answer: str, line: str, right: Iterable[str], setting: str | None = None) -> bool:
    """Whether `answer`, with `line` as its first command line, is right for a row with this `right` and `setting`."""
    if not any(shows(line, wanted) for wanted in right):
        return False
    if setting is None or parse(line).path not in FILE:
        return True
    return re.search(rf"(?<![a-z]){setting.rpartition('.')[2]}(?![a-z])", f"{answer} {line}", flags=re.I) is not None


def shows(line: str, wanted: str) -> bool:
    """Whether the command line `line` is valid and contains all that `wanted`, an entry of `right`, names."""
    try:
        found, need = parse(line), parse(wanted)
    except ValueError:
        return False
    found = _of_added(found, need)
    if need.before and need.before[0] in OTHERS:
        return bool(found.before) and found.before[0] == need.before[0] and _within(need.before, found.before)
    if found.before and found.before[0] in OTHERS:
        return False
    if f"{found.path} ".find(f"{need.path} ".lstrip()) != 0 or not need.options <= found.options:
        return False
    if _is_bare(need) and not found.options <= ANYWHERE | EVERYDAY.get(found.path, set()):
        return False
    if need == ADD and any(word.startswith(("http", "ollama:")) or word == "echo" for word in found.words):
        return False
    return _within(need.before, found.before) and _within(need.words, found.words)


def _of_added(found: Line, need: Line) -> Line:
    """`models set NAME KEY=VALUE` shows the settings and aliases that `models add NAME TARGET --set KEY=VALUE` shows."""
    changes = need.path == "models add" and (need.words or need.options) and need.options <= {"--set", "--alias"}
    if not changes or found.path != "models set" or {"--unset", "--unalias"} & found.options:
        return found
    return replace(found, path=need.path, options=found.options | {"--set"})


def _is_bare(need: Line) -> bool:
    """Whether it names a command alone. `ask` is part of so many answers that a pipe or a word does not tell them apart."""
    return bool(need.path) and not need.options and (need.path == "ask" or not (need.before or need.words))


def _within(needed: tuple[str, ...], there: tuple[str, ...]) -> bool:
    return all(any(word in token for token in there) for word in needed)


def _tokens(text: str) -> list[str]:
    """Words of a shell line; what is quoted is one word. Pipes need no spaces around them."""
    quoted = re.findall(r"""(?:[^\s"'|;]|"(?:\\.|[^"])*"|'[^']*')+|[|;]""", text.strip("`"))
    return [token.strip("\"'") for token in quoted]


def _command(tokens: list[str]) -> tuple[str, Any, list[str]]:
    """(path, command, rest of the tokens), as far as the words name a command. Raises ValueError if one is unknown."""
    command = ROOT
    path: list[str] = []
    while tokens and hasattr(command, "get_command") and not tokens[0].startswith("-"):
        below = command.get_command(None, tokens[0])
        if below is None:
            raise ValueError(f"llmctl {' '.join(path)} has no command {tokens[0]}".replace("  ", " "))
        path.append(tokens[0])
        command, tokens = below, tokens[1:]
    return " ".join(path), command, tokens


def _options(command: Any) -> dict[str, str]:
    """Each spelling -> the longest one with the same meaning. `--no-x` is an option of its own."""
    known = {"--help": "--help", "-h": "--help"}
    for param in command.params:
        for spellings in (param.opts, param.secondary_opts):
            known.update({spelling: max(spellings, key=len) for spelling in spellings if spelling.startswith("-")})
    return known
