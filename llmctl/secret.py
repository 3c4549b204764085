"""Secrets: checked where they enter, and hidden in everything that is said afterwards (errors, notices, logs).

It knows the secrets of this process in memory only, and stores, sends and prints none.
"""

import re
from urllib.parse import quote, unquote

HIDDEN = "[hidden]"
SHORTEST = 4
"""Characters of a secret that is worth hiding: a shorter one stands in ordinary words."""
PATTERNS = (
    (re.compile(r"([A-Za-z][\w+.-]*://)(?!USER:PASSWORD@)[^\s'\"]*@"), rf"\1{HIDDEN}@"),
    (re.compile(r"\b(Bearer|Basic)(\s+)(?=[^\s'\"]*\d)[^\s'\"]{6,}"), rf"\1\2{HIDDEN}"),
    (re.compile(r"\b(?:hf_|sk-)[A-Za-z0-9_-]{16,}"), HIDDEN),
    (
        re.compile(r"([?&](?:api[_-]?key|key|token|access_token|password|secret)=)[^&\s'\"#]+", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
)
"""What is a secret by its form, whoever brought it: user and password of an address, a header, a token of a known kind."""
_known: set[str] = set()


def remember(secret: str) -> None:
    """Hides this secret from now on, as it is and as it stands in an address; of one with control characters, its parts."""
    for part in re.split(r"[^\x21-\x7e]+", secret):
        if len(part) >= SHORTEST:
            _known.update((part, quote(part, safe=""), unquote(part)))


def hide(text: str) -> str:
    """`text` without secrets."""
    for secret in sorted(_known, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    if "://" in text or "Bearer" in text or "Basic" in text or "hf_" in text or "sk-" in text or "=" in text:
        for pattern, instead in PATTERNS:
            text = pattern.sub(instead, text)
    return text


def trimmed(value: str) -> tuple[str, bool]:
    """The secret without white space around it, such as the line end of a file; and whether there was some."""
    remember(value)
    short = value.strip()
    return short, short != value


def flaw(secret: str) -> str | None:
    """Why an HTTP header cannot carry this secret, in words that do not repeat it; None if it can."""
    for place, letter in enumerate(secret, 1):
        if not 32 < ord(letter) < 127:
            what = "a space" if letter == " " else "a line break" if letter in "\r\n" else "a character outside ASCII"
            if ord(letter) < 32 and letter not in "\r\n":
                what = "a control character"
            return f"character {place} of {len(secret)} is {what}, which an HTTP header cannot carry"
    return None
