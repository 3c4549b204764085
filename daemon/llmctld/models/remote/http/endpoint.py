"""HTTP requests to one endpoint: retries, time limits, and the error for each failure.

Knows no models and no meaning of a request. Imports httpx2 when the first endpoint is opened.
"""

import asyncio
import logging
import random
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING, TypeVar

import msgspec

from llmctl import __version__
from llmctl.errors import EngineFailed, LlmctlError, ModelUnavailable
from llmctld.models.catalogue.address import is_loopback
from llmctld.models.remote.http import refusal
from llmctld.models.remote.http.breaker import AttemptFailed, Breaker, ServerMessage
from llmctld.models.remote.http.idle import IdleLimit, Silence
from llmctld.models.remote.http.keys import RESTART, Key
from llmctld.models.remote.http.listing import Listed, read_list
from llmctld.models.remote.http.reply import HttpReply
from llmctld.runtime.log import log

if TYPE_CHECKING:
    import httpx2

T = TypeVar("T")
CONNECT_S = 10.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 8.0
"""Maximum wait before the first retry, doubled for each further one, up to the second value. Jitter takes off up to
half.
"""
PATIENCE_S = 30.0
"""Longest wait that a server may ask for; beyond it there is no retry."""
MOST_REFUSAL, MOST_LIST = 64 * 2**10, 4 * 2**20
"""Bytes read of a refusal, and of a list of models."""
KEPT_S = 60.0
"""Seconds that an idle connection stays open."""
NAMES = 10
"""Number of models listed in a message."""


class Endpoint:
    """`url`: without a final slash. `retries`: attempts after the first. `idle_s`: seconds without data until an
    attempt fails.
    """

    def __init__(self, url: str, key: Key | None, breaker: Breaker, retries: int, idle_s: float) -> None:
        self.url, self.breaker = url, breaker
        self._key, self._retries, self._idle_s = key, retries, idle_s
        self._client: httpx2.AsyncClient | None = None

    @property
    def name(self) -> str:
        return f"the endpoint {self.url}"

    async def open(self) -> None:
        """Reads certificates and proxy variables; opens no connection."""
        self._client = await asyncio.to_thread(self._make_client)

    def _make_client(self) -> "httpx2.AsyncClient":
        import httpx2

        for name in ("httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)  # debug logs would contain addresses and headers
        headers = {"User-Agent": f"llmctl/{__version__}"}
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key.secret}"
        local = is_loopback(self.url)
        try:
            return httpx2.AsyncClient(
                headers=headers,
                # plain http on this machine needs no certificates, which take 50 ms to load
                verify=False if local and self.url.startswith("http:") else httpx2.create_ssl_context(),
                trust_env=not local,  # a proxy cannot reach this machine
                timeout=httpx2.Timeout(None, connect=CONNECT_S),
                limits=httpx2.Limits(max_connections=None, keepalive_expiry=KEPT_S),
            )
        except (ValueError, httpx2.InvalidURL) as error:  # the words may repeat a proxy's password
            hint = f"Correct the *_PROXY variables, then {RESTART}"
            raise ModelUnavailable(
                f"{self.name} cannot be used: the address of its proxy is not valid", hint
            ) from error
        except (OSError, ImportError) as error:
            hint = f"Correct SSL_CERT_FILE or the *_PROXY variables, then {RESTART}"
            raise ModelUnavailable(
                f"{self.name} cannot be used: its certificates or proxy are wrong ({error})", hint
            ) from error

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    # ---- attempts ---------------------------------------------------------------------------------------------------

    async def persist(self, once: Callable[[], Awaitable[T]], has_begun: Callable[[], bool]) -> T:
        """Calls `once` until it succeeds or a retry is pointless; no retry once it `has_begun`, since the user has
        seen a part.

        Raises the error of the last attempt.
        """
        last: LlmctlError | None = None
        for tries in count():
            try:
                return await once()
            except AttemptFailed as trouble:
                last = trouble.error
                if not trouble.again or has_begun() or tries >= self._retries or trouble.after > PATIENCE_S:
                    raise last from trouble
                wait = max(trouble.after, self._pause(tries))
            except ModelUnavailable as closed:
                if last is not None and self.breaker.is_open:  # the breaker has opened meanwhile: report its cause
                    raise last from closed
                raise
            log.info(
                "an endpoint is tried again", endpoint=self.url, code=last.code, tries=tries + 1, wait_s=round(wait, 2)
            )
            await asyncio.sleep(wait)
        raise AssertionError("count() does not end")

    def _pause(self, tries: int) -> float:
        return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0**tries) * random.uniform(0.5, 1)

    @asynccontextmanager
    async def send(self, method: str, path: str, body: object = None) -> AsyncIterator["HttpReply"]:
        """One attempt; yields the reply once its status is 2xx. Raises AttemptFailed, or an error that no retry can mend."""
        import httpx2

        assert self._client is not None
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if content else {}
        request = self._client.build_request(method, self.url + path, content=content, headers=headers)
        with self.breaker.attempt():
            try:
                async with IdleLimit(self._idle_s) as idle:
                    response = await self._client.send(request, stream=True)
                    try:
                        reply = HttpReply(self.name, response, idle, self.without_key)
                        if response.status_code < 500:
                            self.breaker.answered()
                        if not 200 <= response.status_code < 300:
                            raise await self._refusal(path, response.status_code, reply)
                        yield reply
                    finally:
                        await response.aclose()
            except Silence as silence:
                raise AttemptFailed(
                    EngineFailed(
                        f"{self.name} sent nothing for {self._idle_s:g} s", "`idle_s` of the model sets this limit."
                    ),
                    again=False,
                ) from silence
            except httpx2.HTTPError as error:
                raise self._broken(error) from error

    def _broken(self, error: "httpx2.HTTPError") -> AttemptFailed:
        """The error for a failed connection."""
        import httpx2

        words = _reason(error)
        if isinstance(error, httpx2.ProxyError):
            hint = f"Correct HTTPS_PROXY, or add the host to NO_PROXY, then {RESTART}"
            return AttemptFailed(ModelUnavailable(f"{self.name} cannot be reached through the proxy: {words}", hint))
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout | httpx2.UnsupportedProtocol):
            certificate = any(isinstance(each, ssl.SSLCertVerificationError) for each in _causes(error))
            hint = f"SSL_CERT_FILE names additional trusted certificates; set it, then {RESTART}" if certificate else (
                "Check the address, and that its server runs.")  # fmt: skip
            return AttemptFailed(
                ModelUnavailable(f"{self.name} cannot be reached: {words}", hint), again=not certificate
            )
        return AttemptFailed(EngineFailed(f"{self.name} closed the connection: {words}", refusal.ASK_AGAIN))

    async def _refusal(self, path: str, status: int, reply: "HttpReply") -> Exception:
        said = refusal.read(await reply.body(MOST_REFUSAL, whole=False))
        said = said._replace(words=self.without_key(said.words))
        if status in (401, 403):
            return self._locked(status, said)
        if status == 404:
            return await self._missing(path, said)
        if 300 <= status < 400:
            said = said._replace(words=f"it has moved to {reply.header('location')}")
        return refusal.error_of(self.name, status, said, refusal.retry_after(reply.header("retry-after")))

    def without_key(self, words: str) -> str:
        """The text without the key, which some endpoints repeat."""
        return words if self._key is None else self._key.hide(words)

    def _locked(self, status: int, said: ServerMessage) -> ModelUnavailable:
        if self._key is None:
            message = f"{self.name} requires a key, and the model has none ({status}: {said.words})"
            return ModelUnavailable(
                message, "`llmctl models add ... --api-key-env VAR --force` names the variable with the key."
            )
        message = f"{self.name} refuses the key of {self._key.source} ({status}: {said.words})"
        return ModelUnavailable(message, f"Correct the key, then {RESTART}")

    async def _missing(self, path: str, said: ServerMessage) -> ModelUnavailable:
        names: list[str] = []
        if path != "/models":
            with suppress(LlmctlError, AttemptFailed):  # the first failure is the one to report
                names = [model.id for model in await self._list()]
        hint = _names(names) or "Must the address end with /v1?"
        return ModelUnavailable(f"{self.name} answers 404 to {path}: {said.words or 'not found'}", hint)

    # ---- which models there are -------------------------------------------------------------------------------------

    async def models(self, needed: bool = True) -> list[Listed]:
        """The models that the endpoint lists. If none is `needed`, failures are ignored: some endpoints have no list.

        Raises ModelUnavailable, EngineFailed, Busy.
        """
        return await self.persist(self._list if needed else self._list_if_told, lambda: False)

    async def _list(self) -> list[Listed]:
        async with self.send("GET", "/models") as reply:
            return read_list(await reply.json(MOST_LIST), self.name)

    async def _list_if_told(self) -> list[Listed]:
        try:
            return await self._list()
        except (AttemptFailed, LlmctlError) as failure:
            error = failure.error if isinstance(failure, AttemptFailed) else failure
            if self.breaker.is_open or (isinstance(failure, AttemptFailed) and isinstance(error, ModelUnavailable)):
                raise  # the server does not respond
            log.info("an endpoint does not list its models", endpoint=self.url, why=error.message)
            return []


def _names(names: list[str]) -> str:
    more = ", ..." if len(names) > NAMES else ""
    return f"It lists these models: {', '.join(names[:NAMES])}{more}." if names else ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception and what it was raised from, outermost first."""
    below: BaseException | None = error
    while below is not None:
        yield below
        several: tuple[BaseException, ...] = getattr(below, "exceptions", ())  # one for each address that was tried
        below = several[-1] if several else below.__cause__ or below.__context__


def _reason(error: BaseException) -> str:
    """The system's words for the innermost cause; the layers above only say that something failed."""
    words = [each.strerror for each in _causes(error) if isinstance(each, OSError) and each.strerror]
    return words[-1] if words else str(error) or type(error).__name__
