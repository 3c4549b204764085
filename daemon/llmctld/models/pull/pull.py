"""Pulls models from the Hugging Face hub: a child process (fetch.py) downloads, then the model is added.

Knows names and folders; network errors are confined to the child process.
"""

import asyncio
import re
import subprocess
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from llmctl import secret, wire
from llmctl.config import ModelEntry
from llmctl.errors import EngineFailed, InvalidRequest, LlmctlError
from llmctl.interpreter import module
from llmctld.models.catalogue import split
from llmctld.models.catalogue.catalog import Catalog
from llmctld.models.pull import fetch
from llmctld.models.pull.choose import size
from llmctld.models.pull.repository import FetchRequest
from llmctld.runtime.log import log

REPO = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
NAME_LENGTH = 64
"""Maximum length of a model's name."""

_decoder = msgspec.json.Decoder(fetch.FetchMessage)


class Puller:
    """`folder`: where files are stored, as OWNER/NAME/FILE. `room`: bytes of memory for a model."""

    def __init__(self, catalog: Catalog, folder: Path, room: Callable[[], int]) -> None:
        self._catalog, self._folder, self._room = catalog, folder, room

    async def pull(self, request: wire.PullModel) -> AsyncGenerator[wire.Notice | wire.Progress | ModelEntry, None]:
        """Yields notices and progress, and at the end the model. Raises ModelUnavailable, Storage, Usage and
        InvalidRequest.
        """
        if not REPO.fullmatch(request.repo):
            raise InvalidRequest(f"{request.repo!r} is not a repository name", "Write OWNER/NAME[:FILE].")
        _check_access(request)
        self._catalog.check_settings(request.settings)
        if request.name is not None:
            self._catalog.check_names(request.name, request.aliases, request.force)
        async with self._child(request) as child, aclosing(_messages(child)) as lines:
            chose = await anext(lines)
            assert isinstance(chose, fetch.FilesChosen)
            name = request.name or _name(chose.name)
            known = self._known(name, chose.target, request)
            if known is None:
                self._catalog.check_names(name, request.aliases, request.force)
            what = Path(chose.target).name if chose.files == 1 else f"{chose.files} files"
            yield wire.Notice(text=f"pulling {what} of {request.repo} ({size(chose.bytes)}) as {name}")
            assert child.stdin is not None
            child.stdin.write(b"\n")
            async for line in lines:
                if isinstance(line, fetch.FetchNotice):
                    yield wire.Notice(text=line.text)
                elif isinstance(line, fetch.FetchProgress):
                    yield wire.Progress(state="pulling", done=line.done, total=line.total)
                elif isinstance(line, fetch.FetchDone):
                    log.info("a model was pulled", model=name, repo=request.repo, transferred=line.transferred)
                    yield known or self._add(name, chose.target, request)

    def _known(self, name: str, target: str, request: wire.PullModel) -> ModelEntry | None:
        """The model if it was pulled under this name before. It keeps its settings unless the request changes
        something.
        """
        if request.force or request.aliases or request.settings:
            return None
        return next((entry for entry in self._catalog.all() if (entry.name, entry.target) == (name, target)), None)

    def _add(self, name: str, target: str, request: wire.PullModel) -> ModelEntry:
        """Adds the model. If that fails, deletes the files: without an entry nobody could find or remove them."""
        try:
            return self._catalog.add(
                name, target, request.aliases, request.settings, request.force, pulled=request.repo
            )
        except LlmctlError:
            self.delete(self.files(ModelEntry(name=name, target=target, backend="", pulled=request.repo)))
            raise

    @asynccontextmanager
    async def _child(self, request: wire.PullModel) -> AsyncIterator[asyncio.subprocess.Process]:
        """The child process. Killed when the block ends early; partial files stay."""
        want = FetchRequest(
            repo=request.repo, file=request.file, endpoint=request.endpoint, token=request.token, folder=str(self._folder),
            room=int(self._room()),
        )  # fmt: skip
        child = await asyncio.create_subprocess_exec(
            *module("llmctld.models.pull.fetch"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, limit=2**20,
        )  # fmt: skip
        try:
            assert child.stdin is not None
            child.stdin.write(
                msgspec.json.encode(want) + b"\n"
            )  # stdin, since a command line would show the token to other users
            yield child
        finally:
            if child.returncode is None:
                child.kill()
            await asyncio.shield(child.wait())

    def files(self, entry: ModelEntry) -> list[Path]:
        """Files that `pull` downloaded for this model alone; none for a model added by hand."""
        target = Path(entry.target)
        if not entry.pulled or self._folder not in target.parents:
            return []
        others = [other for other in self._catalog.all() if other.name != entry.name]
        if any(_uses(other, target) for other in others):
            return []
        if not target.is_dir():
            return [part for part in split.parts(target) if part.is_file()]
        models = [Path(other.target) for other in others]
        return [file for file in sorted(target.rglob("*")) if file.is_file() and file not in models]

    def delete(self, files: list[Path]) -> None:
        """Deletes the files, and folders left empty."""
        for file in files:
            file.unlink(missing_ok=True)
            for folder in file.parents:
                if folder == self._folder or not folder.is_dir() or any(folder.iterdir()):
                    break
                folder.rmdir()


def _check_access(request: wire.PullModel) -> None:
    """Raises InvalidRequest for a token or an endpoint that no request can be made with, without repeating them."""
    if request.token is not None:
        request.token, _ = secret.trimmed(request.token)
        if wrong := secret.flaw(request.token):
            raise InvalidRequest(f"the token is not valid: {wrong}", "Correct HF_TOKEN.")
    if request.endpoint is None:
        return
    try:
        parts = urlsplit(request.endpoint)
        valid = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0 and not parts.query
    except ValueError:  # its message may repeat a password
        valid = False
    if not valid or any(not 32 < ord(letter) < 127 for letter in request.endpoint):
        raise InvalidRequest("HF_ENDPOINT is not a valid address", "Write https://HOST[:PORT][/PATH].")


def _uses(entry: ModelEntry, target: Path) -> bool:
    """Whether the model uses the file, also as a draft or adapter."""
    adapters = entry.settings.get("adapters") or {}
    return str(target) in (entry.target, entry.settings.get("draft"), *adapters.values())


def _name(wanted: str) -> str:
    """A valid model name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", wanted).strip("._-")[:NAME_LENGTH] or "model"


async def _messages(child: asyncio.subprocess.Process) -> AsyncGenerator[fetch.FetchMessage, None]:
    """Messages of the child up to the last one. Raises the child's error, and EngineFailed if it died."""
    assert child.stdout is not None
    while True:
        line = await child.stdout.readline()
        if not line:
            hint = "Run the command again; the download continues where it stopped."
            raise EngineFailed("the download process died", hint)
        message = _decoder.decode(line)
        if isinstance(message, fetch.FetchFailed):
            raise message.error()
        yield message
        if isinstance(message, fetch.FetchDone):
            return
