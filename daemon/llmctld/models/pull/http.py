"""Limits on what an endpoint may send: no compressed bodies, no bodies of refusals and redirects, no listing without end.

Knows HTTP responses, neither repositories nor files.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from llmctl.errors import ModelUnavailable
from llmctld.models.pull.choose import size

if TYPE_CHECKING:
    import httpx2

LISTING_BYTES = 2**25
"""Maximum size of a listing: about 100,000 files."""
WITH_BODY = (200, 206)
"""Statuses whose body is read. Everything else tells its reason by status and headers."""


def limited_client() -> "httpx2.Client":
    """The library's client, which from now on checks each response before its body is read."""
    from huggingface_hub import get_session

    client = get_session()
    client.event_hooks = client.event_hooks | {"response": [_check]}
    return client


def read_listing(response: "httpx2.Response") -> bytes:
    """The whole body. Raises ModelUnavailable if it is larger than LISTING_BYTES."""
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > LISTING_BYTES:
            raise ModelUnavailable(
                f"the listing at {response.url.host} is longer than {size(LISTING_BYTES)}; reading was stopped",
                "Check HF_ENDPOINT if it is set: a listing of this size is not one of a model.",
            )
    return bytes(body)


def _check(response: "httpx2.Response") -> None:
    encoding = response.headers.get("content-encoding", "identity")
    if response.status_code not in WITH_BODY:
        response.stream = _unread(response)  # it may have no end, and unpack to any size
        response.headers.pop("content-encoding", None)
    elif encoding.lower() != "identity":
        raise ModelUnavailable(
            f"{response.url.host} sends its content compressed (Content-Encoding: {encoding[:40]}), although uncompressed "
            "content was requested",
            "Check HF_ENDPOINT and the proxy: one of them compresses what it passes on.",
        )


def _unread(response: "httpx2.Response") -> "httpx2.SyncByteStream":
    """An empty body that closes the connection when it is closed."""
    from httpx2 import SyncByteStream

    assert isinstance(response.stream, SyncByteStream)
    close = response.stream.close

    class Unread(SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            return iter(())

        def close(self) -> None:
            close()

    return Unread()
