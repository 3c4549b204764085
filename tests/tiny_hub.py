"""A small Hugging Face hub on loopback: repositories in memory, over HTTP, with hashes, ranges and tokens as the real one has.

It counts what it was asked and what it sent, and can stop, cut off, lie or go on without end. It knows nothing of llmctl.
"""

import gzip
import hashlib
import json
import re
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
ENDLESS = 2**27
"""Bytes after which even a body without end does end, so that a test of it fails instead of hanging."""
SMALL = 1024
"""Files above so many bytes are large ones, known by their sha256; the others by git's SHA-1."""


@dataclass
class Repository:
    """`files`: name -> content. `token`: what it takes to read it. `gated`: seen by all, read by nobody."""

    files: dict[str, bytes]
    token: str | None = None
    gated: bool = False
    sizes: dict[str, int] = field(default_factory=dict)
    """What the listing says instead of the truth."""
    listing: bytes | None = None
    """The body sent as the listing."""
    endless: int | None = None
    """Status of a listing without end."""


@dataclass
class Got:
    """A request for a file: from which byte on, and how many bytes were sent."""

    file: str
    start: int
    sent: int = 0
    token: str | None = None


class Hub:
    """`stop_after`: bytes of a file after which a transfer stands still, until `go` is set; `lies`: files with wrong bytes."""

    def __init__(self, repositories: Mapping[str, Repository]) -> None:
        self.repositories = dict(repositories)
        self.got: list[Got] = []
        self.stop_after: int | None = None
        self.cut_after: int | None = None
        """Bytes of a file after which the next transfer of one is cut off."""
        self.cuts_always = False
        """Whether `cut_after` stays for the transfers after the next one."""
        self.overlong: set[str] = set()
        """Files that go on without end."""
        self.compressed: set[str] = set()
        """Files sent with a Content-Encoding; "listing" for the listings."""
        self.poured = 0
        """Bytes sent of bodies without end."""
        self.takes_ranges = True
        self.lies: set[str] = set()
        self.standing, self.go = threading.Event(), threading.Event()
        self.url = ""

    def sent(self, file: str) -> int:
        return sum(got.sent for got in self.got if got.file == file)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a test's output is its own."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        listed = re.fullmatch(r"/api/models/(.+?)(?:/revision/[^/]+)?", path)
        wanted = re.fullmatch(r"/(.+?)/resolve/[^/]+/(.+)", path)
        found = listed or wanted
        name = found[1] if found else ""
        repository = self.hub.repositories.get(name)
        sent = (self.headers.get("Authorization") or "").removeprefix("Bearer ") or None
        if repository is None:
            self._refuse(404, "RepoNotFound")
        elif repository.token is not None and sent != repository.token:
            self._refuse(401, "RepoNotFound")
        elif listed:
            self._list(name, repository)
        elif repository.gated:
            self._refuse(403, "GatedRepo")
        elif wanted and wanted[2] in repository.files:
            self._file(wanted[2], repository, body, sent)
        else:
            self._refuse(404, "EntryNotFound")

    def _refuse(self, status: int, code: str) -> None:
        self._head(status, {"X-Error-Code": code, "Content-Length": "0"})

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _pour(self) -> None:
        """Spaces, until the other side leaves: any number of them may stand before a JSON value."""
        self.close_connection = True
        while self.hub.poured < ENDLESS:
            try:
                self.wfile.write(b" " * 2**16)
            except OSError:
                return
            self.hub.poured += 2**16

    def _pack(self, content: bytes) -> None:
        packed = gzip.compress(content + bytes(ENDLESS), 1)
        self._head(200, {"Content-Encoding": "gzip", "Content-Length": str(len(packed))})
        try:
            self.wfile.write(packed)
        except OSError:
            self.close_connection = True

    def _list(self, name: str, repository: Repository) -> None:
        if repository.endless is not None:
            self._head(repository.endless, {"Location": "/nowhere", "Connection": "close"})
            self._pour()
            return
        if "listing" in self.hub.compressed:
            self._pack(repository.listing or b"{}")
            return
        siblings = []
        for file, content in repository.files.items():
            size, digest = repository.sizes.get(file, len(content)), digest_of(content)
            lfs = {"sha256": digest, "size": size, "pointerSize": 130} if len(content) > SMALL else None
            siblings.append({"rfilename": file, "size": size, "blobId": git_digest(content), "lfs": lfs})
        info = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "gated": repository.gated}
        body = json.dumps(info).encode() if repository.listing is None else repository.listing
        self._head(200, {"Content-Type": "application/json", "Content-Length": str(len(body))})
        self.wfile.write(body)

    def _file(self, name: str, repository: Repository, body: bool, token: str | None) -> None:
        content = repository.files[name]
        begun = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range") or "") if self.hub.takes_ranges else None
        start = int(begun[1]) if begun else 0
        if name in self.hub.compressed:
            self.hub.got.append(Got(name, start))
            self._pack(content)
            return
        if start >= len(content) > 0:
            self._refuse(416, "RangeNotSatisfiable")
            return
        headers = {
            "ETag": f'"{digest_of(content)}"', "X-Linked-ETag": f'"{digest_of(content)}"',
            "X-Linked-Size": str(len(content)), "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes",
            "Content-Length": str(len(content) - start),
        }  # fmt: skip
        if begun:
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        if name in self.hub.overlong:
            del headers["Content-Length"]
            headers["Connection"] = "close"
        self._head(206 if begun else 200, headers)
        if body:
            got = Got(name, start, token=token)
            self.hub.got.append(got)
            self._send(got, bytes(len(content)) if name in self.hub.lies else content)
            if name in self.hub.overlong:
                self._pour()

    def _send(self, got: Got, content: bytes) -> None:
        for at in range(got.start, len(content), 4096):
            if self.hub.stop_after is not None and at >= self.hub.stop_after and not self.hub.go.is_set():
                self.wfile.flush()
                self.hub.standing.set()
                self.hub.go.wait()
            if self.hub.cut_after is not None and at >= self.hub.cut_after:
                self.close_connection = True
                self.hub.cut_after = self.hub.cut_after if self.hub.cuts_always else None
                return
            try:
                self.wfile.write(content[at : at + 4096])
            except OSError:  # whoever asked has gone
                self.close_connection = True
                return
            got.sent += len(content[at : at + 4096])


def digest_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() if len(content) > SMALL else git_digest(content)


def git_digest(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@contextmanager
def tiny_hub(**repositories: Repository) -> Iterator[Hub]:
    """A running one; `OWNER__NAME` names the repository OWNER/NAME."""
    hub = Hub({name.replace("__", "/"): repository for name, repository in repositories.items()})
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OfThis", (Handler,), {"hub": hub}))
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        hub.go.set()
        server.shutdown()
        thread.join()
        server.server_close()
