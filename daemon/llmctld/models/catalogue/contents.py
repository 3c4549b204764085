"""Identities of model files: a quick one from samples at once, joined later by a full hash.

Knows file metadata, sampled blocks and hashes; hashing.py decides when a file is read completely.
"""

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from llmctl.errors import ModelUnavailable
from llmctl.hashes import FileIdentity, Hashed, Hashes, file_identity, read_hashes
from llmctld.models.catalogue import split
from llmctld.models.catalogue.target import regular
from llmctld.runtime.log import log
from llmctld.storage.loss import LossRule
from llmctld.storage.state_file import StateFile

SAMPLES, BLOCK = 64, 4096
HEADER = 2**20
"""The first MiB contains most or all of a GGUF file's metadata."""
MODEL_FILES = ("modules.json", "config.json")
"""A folder is a model if it contains one of these."""
MOST = 4096
"""Stored hashes, at most; each changed file adds one."""


class Contents:
    """Identifies the content of targets. `file`: where full hashes are stored; None: nowhere.

    The first identity of a file comes from its path, modification time and sampled blocks, so that any change gives
    another one. When the full hash is known, all identities with that hash become one, the oldest. So every change is
    noticed, even between the samples, and a `touch` or a copy invalidates nothing for long.
    """

    def __init__(self, file: Path | None = None, tell: Callable[[str], None] = lambda notice: None) -> None:
        """`tell` takes notices about the file."""
        rule = LossRule("the file of hashes", tell, "the models are hashed again", "it is written again")
        self.file = None if file is None else StateFile(file, rule, lambda: msgspec.json.encode(self._kept))
        self._kept = self._read()
        self._first: dict[str, str] = {}
        """Full hash -> the oldest identity with that hash."""
        for own, full in self._kept.known.items():
            self._first.setdefault(full, own)
        self._samples: dict[FileIdentity, str] = {}
        self.waiting: dict[str, str] = {}
        """Target -> identity, for targets whose full hash is missing. `work` is set while there are any."""
        self.work = asyncio.Event()

    def of(self, target: str) -> str:
        """The identity, 32 hexadecimal digits. Raises ModelUnavailable if a file is missing."""
        own = self.own(target)
        if own not in self._kept.known and self.waiting.get(target) != own:
            self.waiting[target] = own
            self.work.set()
        return self.still(own)

    def still(self, identity: str) -> str:
        """The current name of an earlier identity; any other text is returned unchanged."""
        return self._first.get(self._kept.known.get(identity, ""), identity)

    def own(self, target: str) -> str:
        """The identity from metadata and samples alone."""
        try:
            files = [(name, self.of_file(path)) for name, path in files_of(target)]
        except OSError as error:
            raise ModelUnavailable(
                f"{target} cannot be read: {error.strerror}", "Check that the file still exists."
            ) from error
        if len(files) == 1:
            return files[0][1]
        return _digest("\n".join(f"{name}\0{own}" for name, own in files).encode())

    def of_file(self, path: Path) -> str:
        """The same for one file. Raises OSError."""
        regular(path)
        place = file_identity(path)
        if place not in self._samples:
            self._samples[place] = _sample(path, place.size)
        return _digest(f"{place} {self._samples[place]}".encode())

    def full(self, own: str) -> str | None:
        """The SHA-256 for this identity, if known."""
        return self._kept.known.get(own)

    def note(self, own: str, sha256: str) -> None:
        """Records the hash of a file or of a whole target."""
        self._kept.known[own] = sha256
        self._first.setdefault(sha256, own)

    def settle(self, target: str, own: str, sha256: str | None) -> None:
        """Ends the wait for a target's hash, None if it could not be computed. Stored for the next hub and for `models
        show`.
        """
        if self.waiting.get(target) == own:
            del self.waiting[target]
        if not self.waiting:
            self.work.clear()
        if sha256 is None:
            return
        self.note(own, sha256)
        self._kept.targets[target] = Hashed(sha256, [file_identity(path) for _, path in files_of(target)])
        while len(self._kept.known) > MOST:
            del self._kept.known[next(iter(self._kept.known))]
        self._write()

    def _write(self) -> None:
        if self.file is None:
            return
        try:
            self.file.write(msgspec.json.encode(self._kept))
        except OSError as error:
            log.warning("the hashes of models cannot be stored", file=str(self.file.path), reason=error.strerror)

    def _read(self) -> Hashes:
        if self.file is None:
            return Hashes()
        broken: list[str] = []
        found = read_hashes(self.file.path, broken.append)
        for message in broken:
            self.file.set_damaged_aside(message)
        return found


def files_of(target: str) -> list[tuple[str, Path]]:
    """Name and path of each file of a model: the file, all parts of a split file, or the files of a folder.

    Raises ModelUnavailable for a folder without a model.
    """
    path = Path(target)
    if not path.is_dir():
        return [(part.name, part) for part in split.parts(path)]
    if not any((path / name).is_file() for name in MODEL_FILES):
        raise ModelUnavailable(f"{target} is a folder without a model", "Check that it is still the same folder.")
    return [(str(file.relative_to(path)), file) for file in _below(path)]


def _below(folder: Path, above: tuple[Path, ...] = ()) -> Iterator[Path]:
    """The files of a folder and its subfolders, sorted, without hidden ones such as .git, and without links to folders above."""
    above = (*above, folder.resolve())
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            if entry.resolve() not in above:
                yield from _below(entry, above)
        else:
            yield entry


def _sample(path: Path, size: int) -> str:
    """Hashes the header, the end, and blocks spread evenly between. A full hash of 40 GB takes minutes."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        digest.update(file.read(HEADER))
        for index in range(SAMPLES + 1):
            file.seek(max(0, (size - BLOCK) * index // SAMPLES))
            digest.update(file.read(BLOCK))
    return digest.hexdigest()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
