"""The key of a remote endpoint: from an environment variable of the hub, else from the system's keyring. Never written
anywhere.

Imports `keyring` only if no variable holds the key.
"""

import asyncio
import os

from llmctl.errors import ModelUnavailable
from llmctl.secret import flaw, trimmed
from llmctld.models.catalogue.address import is_loopback

SERVICE = "llmctl"
"""The keyring service; entries are named after the variable or the model."""
RESTART = "run `llmctl daemon restart` in a shell that has it."
INSTALL = "pip install 'llmctl[keyring]'"


class Key:
    """A secret and its source. Its repr shows only the source. `cut`: white space around it was left out."""

    def __init__(self, secret: str, source: str, cut: bool = False) -> None:
        self.secret, self.source, self.cut = secret, source, cut

    def __repr__(self) -> str:
        return f"<the key of {self.source}>"

    def hide(self, text: str) -> str:
        """`text` with the key replaced."""
        return text.replace(self.secret, "[the key]")


async def find_key(model: str, target: str, variable: str | None) -> Key | None:
    """The key of a model's endpoint, None if it has none. Raises ModelUnavailable if the named key is missing.

    Without a variable the keyring is asked for the model's name, except for an endpoint on this machine, since the
    keyring may ask the user to unlock it.
    """
    if variable is None:
        secret = None if is_loopback(target) else await asyncio.to_thread(_from_keyring, model)
        return None if secret is None else _checked(secret, f"the keyring's entry {model!r} of {SERVICE}")
    value, cut = trimmed(os.environ.get(variable, ""))
    if value:
        return _checked(value, f"the variable {variable}", cut)
    secret = await asyncio.to_thread(_from_keyring, variable)
    if secret is not None:
        return _checked(secret, f"the keyring's entry {variable!r} of {SERVICE}")
    raise ModelUnavailable(
        f"the key of {model} is missing: neither the hub's environment nor the keyring has {variable}",
        f"The hub has the variables of the shell that started it: set {variable}, then {RESTART} "
        f"Or `{INSTALL}`, then `keyring set {SERVICE} {variable}`.",
    )


def _from_keyring(name: str) -> str | None:
    try:
        import keyring
        from keyring.errors import KeyringError
    except ImportError:
        return None
    try:
        return trimmed(keyring.get_password(SERVICE, name) or "")[0] or None
    except (KeyringError, OSError):  # no keyring on this machine, or it stays locked
        return None


def _checked(secret: str, source: str, cut: bool = False) -> Key:
    if wrong := flaw(secret):
        message = f"{source} is not a valid key: {wrong}"
        raise ModelUnavailable(message, f"Correct it, then {RESTART}")
    return Key(secret, source, cut)
