"""The shared level: answers that several hubs have in common, in Redis or Valkey. It knows their protocol, and no answers.

Time-outs are short, and what it raises holds no secret of the URL. When a server that failed is asked again it does not know.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from llmctl.shared_url import FORM, SCHEMES, flaw
from llmctld.cache.eviction import Item
from llmctld.cache.level import CachedValue, seal, unseal

if TYPE_CHECKING:
    import redis

PREFIX = "llmctl:answer:"
"""Of every key here: the server may be somebody else's as well."""
TIMEOUT_S = 0.5
"""Of one exchange: longer than any takes over a network that is worth asking."""
LIMIT = 8 * 2**20
"""Bytes of a value, so that none takes longer than that."""
COUNT_S = 0.25
"""What counting may take; what is not counted by then is estimated."""
BATCH = 500


class SharedError(OSError):
    """The server fails, or what lies before it."""


class SharedLevel:
    """A Level at `url`, as in redis://USER:PASSWORD@HOST:PORT/DB, which is first asked when something is wanted.

    The server evicts as it is configured to; a key that it lost is a miss. Raises SharedError, and ValueError for a value
    that is damaged.
    """

    name = "shared"
    news: str | None = None

    def __init__(self, url: str) -> None:
        self._secrets = _secrets(url)
        with self._errors():
            self._client = _client(url)

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
            self.delete([key])  # what was there no longer holds
            return [key]
        with self._errors():
            self._client.set(PREFIX + key, seal(value), px=left_ms)
        return []

    def delete(self, keys: Sequence[str]) -> int:
        with self._errors():
            return self._remove(PREFIX + key for key in keys)

    def clear(self) -> int:
        """What other hubs have put there too."""
        with self._errors():
            return self._remove(self._client.scan_iter(match=PREFIX + "*", count=BATCH))

    def _remove(self, names: Iterator[Any]) -> int:
        count = 0
        while batch := list(islice(names, BATCH)):
            removed: Any = self._client.unlink(*batch)
            count += removed
        return count

    def size(self) -> tuple[int, int]:
        """Exact for what can be counted in COUNT_S, an estimate beyond."""
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

    def lost(self) -> bool:
        return False

    def close(self) -> None:
        self._client.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Every failure as a SharedError whose words hold no secret."""
        try:
            yield
        except SharedError:
            raise
        except Exception as error:  # noqa: BLE001 - sockets, TLS, the protocol: whatever it is, the level fails
            words = str(error)
            for secret in self._secrets:
                words = words.replace(secret, "***")
            raise SharedError(f"{type(error).__name__}: {words}") from None  # the chain would hold them


def _secrets(url: str) -> list[str]:
    """What must not be seen of the URL, the longest first, as written and as meant."""
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
            protocol=2,  # which every Redis and Valkey speaks
            retry=Retry(NoBackoff(), 1, (redis.ConnectionError,)),  # the server closes what was idle for long
        )
    except ValueError:  # whose words may hold the password
        raise SharedError(f"cache.shared_url cannot be read: an address is {FORM}") from None
