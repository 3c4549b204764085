"""The address of a server that hubs share answers through: which ones are read, and what is wrong with one.

It opens no connection, and what it says holds nothing of the address but its kind: there may be a password in it.
"""

import re
from urllib.parse import urlsplit

SCHEMES = {"redis": "redis", "rediss": "rediss", "valkey": "redis", "valkeys": "rediss", "unix": "unix"}
"""How an address begins -> what the package redis calls that."""
FORM = "redis://USER:PASSWORD@HOST:PORT/DB, with %XX for / : @ in a password"


def flaw(url: str) -> str | None:
    """Why no server can be at `url`, in words that follow its key; None where one can."""
    scheme = url.partition("://")[0] if "://" in url else ""
    if scheme not in SCHEMES:
        return "must begin with one of " + ", ".join(f"{name}://" for name in SCHEMES)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:  # whose words may hold the password
        return f"cannot be read: an address is {FORM}"
    if scheme == "unix":
        return None if parts.path.strip("/") else "names no socket: an address is unix:///PATH"
    if port == 0 or not re.fullmatch(r"/*\d*/*", parts.path):
        return f"cannot be read: an address is {FORM}"
    return None
