"""A child process of the hub that downloads the files of one model: `python -m llmctld.models.pull.fetch`.

It reads a FetchRequest from stdin, writes FilesChosen, and starts the transfer at the next line; it exits at the end of
stdin, and so with the hub. Each file is written under a name ending in `.part`, checked against the repository's hash, then
renamed, so that an interrupted download continues where it stopped. It adds no model and chooses no names.
"""

import fcntl
import glob
import hashlib
import os
import re
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from llmctl import secret
from llmctl.errors import Internal, LlmctlError, ModelUnavailable, Storage
from llmctl.interpreter import ChildError
from llmctld.models.pull import repository
from llmctld.models.pull.choose import FileChoice, RepoFile, choose, size
from llmctld.models.pull.repository import FetchRequest, WrongFile

TELL_S = 0.2
"""Minimum seconds between two progress messages."""
BLOCK = 2**20
RESTARTS = 2
"""Times that one transfer may begin again at the first byte."""


class FilesChosen(msgspec.Struct, tag="chose"):
    """The chosen files. The transfer waits for a line on stdin. `target`: the path that names the model."""

    name: str
    target: str
    files: int
    bytes: int


class FetchNotice(msgspec.Struct, tag="note"):
    text: str


class FetchProgress(msgspec.Struct, tag="got"):
    """Bytes of all files: present, and in total."""

    done: int
    total: int


class FetchDone(msgspec.Struct, tag="ended"):
    """All files are present and verified. `transferred`: bytes received over the network."""

    transferred: int


class FetchFailed(ChildError, tag="gave_up"):
    """The last message if the download failed."""


FetchMessage = FilesChosen | FetchNotice | FetchProgress | FetchDone | FetchFailed


def send(line: FetchMessage) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(line) + b"\n")
    sys.stdout.buffer.flush()


def main() -> int:
    want = msgspec.json.decode(sys.stdin.buffer.readline(), type=FetchRequest)
    if want.token is not None:
        secret.remember(want.token)
    repository.choose_the_library(want)
    try:
        with repository.translated_errors(want):
            files, revision = repository.files(want)
            choice = choose(want.repo, files, want.file, want.room)
            folder = Path(want.folder).joinpath(*want.repo.split("/"))
            send(FilesChosen(choice.name, str(folder / choice.target), len(choice.files), choice.size))
            if not sys.stdin.buffer.readline():
                return 0
            threading.Thread(target=_end_with_the_hub, daemon=True).start()
            send(FetchDone(Transfer(want, folder, revision, choice).run()))
    except LlmctlError as error:
        send(FetchFailed(**error.fields()))
    except Exception as error:  # noqa: BLE001 - an unexpected exception of the library becomes a reply too
        send(FetchFailed(**Internal(f"{want.repo} cannot be pulled: {type(error).__name__}: {error}").fields()))
    return 0


def _end_with_the_hub() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


class Transfer:
    """Downloads the files of one choice, one after another."""

    def __init__(self, want: FetchRequest, folder: Path, revision: str, choice: FileChoice) -> None:
        self._want, self._folder, self._revision, self._choice = want, folder, revision, choice
        self._before = self._transferred = 0
        self._total, self._told = choice.size, 0.0

    def run(self) -> int:
        """Downloads what is missing. Returns the bytes received."""
        missing = [file for file in self._choice.files if not is_there(self._folder / file.name, file)]
        self._check_room(missing)
        self._before = self._total - sum(file.size for file in missing)
        for file in missing:
            self._fetch(file)
            self._before += file.size
        self.tell(0, last=True)
        return self._transferred

    def _check_room(self, missing: list[RepoFile]) -> None:
        needed = sum(max(0, file.size - _bytes_of(self._part(file))) for file in missing)
        self._folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self._folder).free
        if needed > free:
            raise Storage(
                f"{self._want.repo} needs {size(needed)} more on the disk of {self._folder}, but {size(free)} are free: "
                f"{size(needed - free)} are missing",
                "Free space there, or choose a smaller file.",
            )

    def _part(self, file: RepoFile) -> Path:
        """The partial file for this content; another version of the file has another one."""
        place = self._folder / file.name
        mark = re.sub(r"\W", "", file.digest)[:16] or "unknown"
        return place.with_name(f".{place.name}.{mark}.part")

    def _fetch(self, file: RepoFile) -> None:
        """Downloads one file. A lock lets only one process transfer it; the others wait and find it complete."""
        place, part = self._folder / file.name, self._part(file)
        part.parent.mkdir(parents=True, exist_ok=True)
        while not is_there(place, file):
            with part.open("ab+") as stream:
                self._wait_for(stream, file)
                if not _is_named(stream, part):
                    continue  # the process that held the lock has finished the file, or failed
                self._transfer(stream, file)
                os.fsync(stream.fileno())
                os.replace(part, place)
        for other in place.parent.glob(f".{glob.escape(place.name)}.*.part"):
            other.unlink(missing_ok=True)

    def _wait_for(self, stream: BinaryIO, file: RepoFile) -> None:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            send(FetchNotice(f"{file.name} is being downloaded by another process; waiting for it"))
            fcntl.flock(stream, fcntl.LOCK_EX)

    def _transfer(self, stream: BinaryIO, file: RepoFile) -> None:
        tally = Tally(stream, file, self)
        if tally.count:
            send(
                FetchNotice(f"{file.name}: {size(tally.count)} of {size(file.size)} are here already; continuing there")
            )
        try:
            repository.fetch(self._want, file, self._revision, tally, tally.count)
            tally.check_hash()
        except WrongFile as wrong:
            self._part(file).unlink(missing_ok=True)
            raise ModelUnavailable(
                f"{file.name} of {self._want.repo} {wrong}; it was deleted",
                "Run the command again. If it fails again, the endpoint serves wrong data.",
            ) from wrong
        stream.flush()

    def received(self, count: int, length: int) -> None:
        self._transferred += count
        self.tell(length)

    def tell(self, length: int, last: bool = False) -> None:
        if last or time.monotonic() - self._told >= TELL_S:
            self._told = time.monotonic()
            send(FetchProgress(self._before + length, self._total))


class Tally:
    """The file object that the library writes to. It hashes what is written and what was there before, and takes no byte
    more than the file's size. Raises WrongFile.
    """

    def __init__(self, stream: BinaryIO, file: RepoFile, transfer: Transfer) -> None:
        self._stream, self._file, self._transfer = stream, file, transfer
        self._restarts = 0
        self._begin()
        stream.seek(0)
        while block := stream.read(BLOCK):
            self._hash.update(block)
            self.count += len(block)
        if self.count > file.size:
            self._clear()

    def _begin(self) -> None:
        self._hash, self.count = _hash_of(self._file), 0

    def write(self, chunk: bytes) -> int:
        if self.count + len(chunk) > self._file.size:
            raise WrongFile(f"is longer than the {self._file.size} bytes of the listing; the transfer was stopped")
        self._hash.update(chunk)
        self.count += len(chunk)
        written = self._stream.write(chunk)
        self._transfer.received(len(chunk), self.count)
        return written

    def tell(self) -> int:
        return self.count

    def seek(self, place: int, whence: int = 0) -> int:
        return self.count  # the library seeks only to start over

    def truncate(self) -> int:
        """For a server that sends the whole file again instead of the rest."""
        self._restarts += 1
        if self._restarts > RESTARTS:
            raise WrongFile(f"began again at its first byte {self._restarts} times, and each transfer was interrupted")
        return self._clear()

    def _clear(self) -> int:
        self._begin()
        return self._stream.truncate(0)

    def check_hash(self) -> None:
        digest = str(self._hash.hexdigest())
        if digest != self._file.digest:
            raise WrongFile(f"is corrupt: its hash is {digest}, but the repository names {self._file.digest or 'none'}")


def _hash_of(file: RepoFile) -> Any:
    """SHA-256 for large files, else SHA-1 as git computes it: https://git-scm.com/book/en/v2/Git-Internals-Git-Objects"""
    if len(file.digest) == 40:
        return hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    return hashlib.sha256()


def is_there(place: Path, file: RepoFile) -> bool:
    """Whether the file exists with the content that the repository names."""
    if _bytes_of(place) != file.size or not place.is_file():
        return False
    found = _hash_of(file)
    with place.open("rb") as stream:
        while block := stream.read(BLOCK):
            found.update(block)
    return bool(found.hexdigest() == file.digest)


def _bytes_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _is_named(stream: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(stream.fileno()), path.stat())
    except FileNotFoundError:
        return False


if __name__ == "__main__":
    sys.exit(main())
