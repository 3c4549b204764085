"""The shared level: answers shared by several hubs, in Redis or Valkey.

Timeouts are short. Errors contain no secret of the URL. Does not decide when a failed server is tried again.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from llmctl.secret import remember
from llmctl.shared_url import FORM, SCHEMES, flaw
from llmctld.cache.eviction import Item
from llmctld.cache.level import CachedValue, seal, unseal

if TYPE_CHECKING:
    import redis

PREFIX = "llmctl:answer:"
"""Prefix of all keys; other programs may use the server too."""
TIMEOUT_S = 0.5
"""Timeout per command; a slower network is not worth using."""
LIMIT = 8 * 2**20
"""Maximum size of a value, so that it can be sent within the timeout."""
COUNT_S = 0.25
"""Time limit for counting entries; beyond it the count is estimated."""
BATCH = 500


class SharedError(OSError):
    """The server, or the connection to it, fails."""


class SharedLevel:
    """A Level at `url`, as in redis://USER:PASSWORD@HOST:PORT/DB. Connects on first use.

    The server's own settings decide evictions; an evicted key is a miss. Raises SharedError, and ValueError for a
    damaged value.
    """

    name = "shared"
    news: str | None = None

    def __init__(self, url: str) -> None:
        if url != url.strip():
            self.news = "cache.shared_url has white space around it, which is left out"
        self._secrets = _secrets(url.strip())
        for secret in self._secrets:
            remember(secret)
        with self._errors():
            self._client = _client(url.strip())

    def get(self, key: str) -> CachedValue | None:
        with self._errors():
            both: Any = self._client.pipeline(transaction=True)
            sealed, left_ms = both.get(PREFIX + key).pttl(PREFIX + key).execute()
        if sealed is None:
            return None
        return CachedValue(unseal(sealed), time.time() + left_ms / 1e3 if left_ms >= 0 else float("inf"))

    def exists(self, keys: Sequence[str]) -> set[str]:
        with self._errors():
            asked: Any = self._client.pipeline(transaction=False)
            for key in keys:
                asked.exists(PREFIX + key)
            return {key for key, there in zip(keys, asked.execute(), strict=True) if there}

    def put(self, key: str, value: bytes, expires: float, item: Item) -> list[str]:
        left_ms = int((expires - time.time()) * 1e3) if expires != float("inf") else None
        if len(value) > LIMIT or (left_ms is not None and left_ms <= 0):
            self.delete([key])  # the value stored before is no longer valid
            return [key]
        with self._errors():
            self._client.set(PREFIX + key, seal(value), px=left_ms)
        return []

    def delete(self, keys: Sequence[str]) -> int:
        with self._errors():
            return self._remove(PREFIX + key for key in keys)

    def clear(self) -> int:
        """Also removes what other hubs have stored."""
        with self._errors():
            return self._remove(self._client.scan_iter(match=PREFIX + "*", count=BATCH))

    def _remove(self, names: Iterator[Any]) -> int:
        count = 0
        while batch := list(islice(names, BATCH)):
            removed: Any = self._client.unlink(*batch)
            count += removed
        return count

    def size(self) -> tuple[int, int]:
        """Exact if counted within COUNT_S, else estimated."""
        entries = size = 0
        cursor, until = 0, time.monotonic() + COUNT_S
        with self._errors():
            while True:
                step: Any = self._client.scan(cursor, match=PREFIX + "*", count=BATCH)
                cursor, names = step
                lengths: Any = self._client.pipeline(transaction=False)
                for name in names:
                    lengths.strlen(name)
                entries, size = entries + len(names), size + sum(lengths.execute())
                if cursor == 0:
                    return entries, size
                if time.monotonic() > until:
                    everything: Any = self._client.dbsize()
                    return everything, size * everything // max(entries, 1)

    def lost(self) -> str | None:
        return None

    def leave(self, happened: str) -> str | None:
        return None

    def set_aside(self, error: Exception) -> str | None:
        return None

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Converts every failure to a SharedError without secrets."""
        try:
            yield
        except SharedError:
            raise
        except Exception as error:  # noqa: BLE001 - sockets, TLS, protocol: any error means that the level fails
            words = str(error)
            for secret in self._secrets:
                words = words.replace(secret, "***")
            raise SharedError(f"{type(error).__name__}: {words}") from None  # the exception chain could contain secrets


def _secrets(url: str) -> list[str]:
    """Secret parts of the URL, longest first, encoded and decoded."""
    address = url.rpartition("@")[0].partition("://")[2]
    user, _, password = address.partition(":")
    query = [
        item.partition("=")[2] for item in url.partition("?")[2].split("&") if "password" in item.partition("=")[0]
    ]
    found = {text for part in (address, password, *query) for text in (part, unquote(part))}
    return sorted(found - {"", user}, key=len, reverse=True)


def _client(url: str) -> "redis.Redis":
    wrong = flaw(url)
    if wrong is not None:
        raise SharedError(f"cache.shared_url {wrong}")
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError as error:
        raise SharedError(
            "the package redis is not installed, which cache.shared_url needs: pip install 'llmctl[shared]'"
        ) from error
    scheme, _, rest = url.partition("://")
    try:
        return redis.Redis.from_url(
            f"{SCHEMES[scheme]}://{rest}",
            socket_timeout=TIMEOUT_S,
            socket_connect_timeout=TIMEOUT_S,
            protocol=2,  # supported by every Redis and Valkey
            retry=Retry(NoBackoff(), 1, (redis.ConnectionError,)),  # the server closes idle connections
        )
    except ValueError:  # its message may contain the password
        raise SharedError(f"cache.shared_url is not a valid address; the form is {FORM}") from None
