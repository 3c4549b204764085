"""The address of a remote endpoint: what one may look like, and whether it leads to this machine.

It opens no connection and asks no name server.
"""

import ipaddress
from urllib.parse import SplitResult, urlsplit

from llmctl.errors import InvalidRequest

EXAMPLE = "An address reads http://HOST:PORT/v1, as its server documents it."
PATHS = ("/chat/completions", "/completions", "/embeddings", "/models")
"""What is asked below an address, and so no part of it."""


def is_address(target: str) -> bool:
    return target.startswith(("http://", "https://"))


def check_address(target: str) -> None:
    """Raises InvalidRequest for one that cannot be asked, or that holds what must not lie in a file."""
    try:
        parts = urlsplit(target)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidRequest(f"the address cannot be read: {error}", EXAMPLE) from error
    if "@" in parts.netloc:
        hint = "Give the key in a variable: --api-key-env NAME_OF_THE_VARIABLE."
        raise InvalidRequest(f"the address of {host} holds a user name or a password, which would be stored", hint)
    if not host or any(not 32 < ord(letter) < 127 for letter in target):
        raise InvalidRequest(f"the address {target!r} names no host, or holds a character that none may hold", EXAMPLE)
    if parts.query or parts.fragment:
        raise InvalidRequest(f"the address {target!r} holds a query or a fragment", EXAMPLE)
    for path in PATHS:
        if parts.path.rstrip("/").endswith(path):
            raise InvalidRequest(
                f"the address {target!r} ends with {path}, which is asked below it", f"Leave {path} out."
            )


def is_loopback(target: str) -> bool:
    """Whether it leads to this machine, by its very name: no proxy could reach that, and nobody else reads along."""
    host = (_split(target).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def is_open(target: str) -> bool:
    """Whether what is sent there, a key too, can be read on the way."""
    return _split(target).scheme == "http" and not is_loopback(target)


def _split(target: str) -> SplitResult:
    return urlsplit(target)
