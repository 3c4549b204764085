"""Addresses of remote endpoints: their syntax, and whether they lead to this machine.

Opens no connection and resolves no name.
"""

import ipaddress
from urllib.parse import SplitResult, urlsplit

from llmctl.errors import InvalidRequest

EXAMPLE = "Use the address from the server's documentation, for instance http://HOST:PORT/v1."
PATHS = ("/chat/completions", "/completions", "/embeddings", "/models")
"""Paths that requests append to the address; they must not be part of it."""


def is_address(target: str) -> bool:
    return target.startswith(("http://", "https://"))


def check_address(target: str) -> None:
    """Raises InvalidRequest if the address is malformed or holds a secret, which must not be stored in a file."""
    try:
        parts = urlsplit(target)
        host, _ = parts.hostname, parts.port
    except ValueError:  # its message may repeat a password
        raise InvalidRequest("the address cannot be read: its host or its port is not valid", EXAMPLE) from None
    if "@" in parts.netloc:
        hint = "Give the key in an environment variable: --api-key-env VARIABLE."
        raise InvalidRequest(f"the address of {host} contains a user name or a password, which would be stored", hint)
    if not host or any(not 32 < ord(letter) < 127 for letter in target):
        raise InvalidRequest(
            f"the address {target!r} has no host, or contains a character that a URL cannot contain", EXAMPLE
        )
    if parts.query or parts.fragment:
        bare = target.partition("?")[0].partition("#")[0]
        raise InvalidRequest(
            f"the address {bare!r} is followed by a query or a fragment, which may hold a key", EXAMPLE
        )
    for path in PATHS:
        if parts.path.rstrip("/").endswith(path):
            raise InvalidRequest(
                f"the address {target!r} ends with {path}, which llmctl appends itself", f"Omit {path}."
            )


def is_loopback(target: str) -> bool:
    """Whether the host is this machine, judged by its name or IP address alone. No proxy is used for it, and no one
    can listen in.
    """
    host = (_split(target).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def is_open(target: str) -> bool:
    """Whether requests, including the key, are sent unencrypted over a network."""
    return _split(target).scheme == "http" and not is_loopback(target)


def _split(target: str) -> SplitResult:
    return urlsplit(target)
