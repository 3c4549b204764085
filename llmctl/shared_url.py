"""Checking the address of a shared cache server.

It opens no connection, and its messages never repeat the address, which may contain a password.
"""

import re
from urllib.parse import urlsplit

SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}
"""Scheme of an address -> scheme in the package redis."""
FORM = "redis://USER:PASSWORD@HOST:PORT/DB, with %XX for / : @ in a password"


def flaw(url: str) -> str | None:
    """What is wrong with `url`, as text to follow its key; None if it is valid."""
    url = url.strip()  # a line end at its end is left out, and said
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme not in SCHEMES:
        return "must begin with one of " + ", ".join(f"{name}://" for name in SCHEMES)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # its message may contain the password
        return f"is not a valid address; the form is {FORM}"
    if any(ord(letter) < 33 or ord(letter) == 127 for letter in url):
        return f"contains a space or a control character; the form is {FORM}"
    if scheme == "unix":
        return None if parts.path.strip("/") else "names no socket file; the form is unix:///PATH"
    if port == 0 or not re.fullmatch(r"/*\d*/*", parts.path):
        return f"is not a valid address; the form is {FORM}"
    return None
