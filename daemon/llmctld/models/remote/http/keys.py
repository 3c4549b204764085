"""The key of a remote endpoint: from a variable of the hub's environment, else from the system's keyring; never written anywhere.

It does not know what a key opens. `keyring` is imported only where no variable holds the key.
"""

import asyncio
import os

from llmctl.errors import ModelUnavailable
from llmctld.models.catalogue.address import is_loopback

SERVICE = "llmctl"
"""Under which the keyring has keys; their names there are those of the variable, or of the model."""
RESTART = "`llmctl daemon restart` in a shell that has it."
INSTALL = "pip install 'llmctl[keyring]'"


class Key:
    """A secret, and in words where it comes from. Printed or logged, it says only the latter."""

    def __init__(self, secret: str, source: str) -> None:
        self.secret, self.source = secret, source

    def __repr__(self) -> str:
        return f"<the key of {self.source}>"

    def hide(self, text: str) -> str:
        """`text` without the key, should somebody have put it there."""
        return text.replace(self.secret, "[the key]")


async def find_key(model: str, target: str, variable: str | None) -> Key | None:
    """The key of a model's endpoint, None where it has none. Raises ModelUnavailable where the one that is named is missing.

    Without a variable's name the keyring is asked under the model's name, but not for an endpoint on this machine: it may
    ask the user to unlock it.
    """
    if variable is None:
        secret = None if is_loopback(target) else await asyncio.to_thread(_from_keyring, model)
        return None if secret is None else _checked(secret, f"the keyring's entry {model!r} of {SERVICE}")
    value = os.environ.get(variable, "").strip()
    if value:
        return _checked(value, f"the variable {variable}")
    secret = await asyncio.to_thread(_from_keyring, variable)
    if secret is not None:
        return _checked(secret, f"the keyring's entry {variable!r} of {SERVICE}")
    raise ModelUnavailable(
        f"the key of {model} is missing: the hub's environment has no variable {variable}, nor has the keyring such an entry",
        f"The hub sees the variables that were set when it was started: set {variable}, then {RESTART} "
        f"Or `{INSTALL}`, and `keyring set {SERVICE} {variable}`.",
    )


def _from_keyring(name: str) -> str | None:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return None
    try:
        return (keyring.get_password(SERVICE, name) or "").strip() or None
    except (KeyringError, OSError):  # there is none on this machine, or it stays locked
        return None


def _checked(secret: str, source: str) -> Key:
    if not all(32 < ord(letter) < 127 for letter in secret):
        message = f"{source} holds no key: it has a space, a line's end or a letter that no HTTP header may hold"
        raise ModelUnavailable(message, f"Set it anew, then {RESTART}")
    return Key(secret, source)
