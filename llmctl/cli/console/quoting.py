"""A text among the arguments in which the shell, or typer, saw something else: what to write instead.

It looks at words alone; which options a command has is typer's business.
"""

import re
import shlex
from collections.abc import Sequence

from llmctl.errors import short

TAKE_TEXT = ("ask", "embed")
"""Commands whose arguments are anything that people write."""
OPTION = re.compile(r"--?[A-Za-z][A-Za-z0-9-]*(=.*)?", re.DOTALL)
"""An option, or one that was mistyped."""
PLAIN = re.compile(r"[^\"$`\\!]*")


def behind_dashes(arguments: Sequence[str]) -> str | None:
    """The hint for such a command line; None where there is no such text, or it stands behind `--`."""
    words = [word for word in arguments if word not in ("-q", "--quiet", "--json")]
    if not words or words[0] not in TAKE_TEXT or "--" in words:
        return None
    text = next((word for word in words[1:] if len(word) > 1 and word[0] == "-" and not OPTION.fullmatch(word)), None)
    if text is None:
        return None
    shown = short(text)
    quoted = f'"{shown}"' if PLAIN.fullmatch(shown) else shlex.quote(shown)
    return f"A text that begins with - stands behind --, after all options: `llmctl {words[0]} -- {quoted}`."


def unquoted(path: str, message: str) -> str | None:
    """The hint where a prompt's words came as several arguments."""
    if path != "llmctl ask" or "unexpected extra argument" not in message:
        return None
    return 'A prompt of several words stands in quotes: `llmctl ask "why is the sky blue?"`.'
