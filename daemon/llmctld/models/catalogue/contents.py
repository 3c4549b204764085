"""Whether a model's files are still the same: an identity at once, and with the full hash, which comes later, the old one again.

It knows places, sampled blocks and hashes; when a file is read to its end is for hashing.py to say.
"""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec

from llmctl.errors import ModelUnavailable
from llmctl.hashes import Hashed, Hashes, Place, place_of, read_hashes
from llmctld.models.catalogue import split
from llmctld.models.catalogue.target import regular
from llmctld.storage.files import write_whole
from llmctld.watch import log

SAMPLES, BLOCK = 64, 4096
HEADER = 2**20
"""The first MiB holds a GGUF file's metadata, or most of it."""
MODEL_FILES = ("modules.json", "config.json")
"""A folder with one of them is a model."""
MOST = 4096
"""Hashes that are kept: each changed file is one more."""


class Contents:
    """What identifies the content of targets. `file` keeps the hashes, None: nothing is kept.

    A file is first known by where it lies, when it was written, and its sampled blocks: any change is another identity. A
    full hash makes identities of the same content one, the oldest. So no change goes unnoticed, be it between the samples,
    and a `touch` or a copy costs nothing for long.
    """

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self._kept = read_hashes(file, log.warning) if file else Hashes()
        self._first: dict[str, str] = {}
        """Full hash -> the oldest identity that has it."""
        for own, full in self._kept.known.items():
            self._first.setdefault(full, own)
        self._samples: dict[Place, str] = {}
        self.waiting: dict[str, str] = {}
        """Target -> its identity, of those whose full hash is wanted; `work` is set while there are any."""
        self.work = asyncio.Event()

    def of(self, target: str) -> str:
        """32 hexadecimal digits. Raises ModelUnavailable where a file is missing."""
        own = self.own(target)
        if own not in self._kept.known and self.waiting.get(target) != own:
            self.waiting[target] = own
            self.work.set()
        return self.still(own)

    def still(self, identity: str) -> str:
        """What an identity of earlier is called now; any other text stands as it is."""
        return self._first.get(self._kept.known.get(identity, ""), identity)

    def own(self, target: str) -> str:
        """The identity by place and samples alone."""
        try:
            files = [(name, self.of_file(path)) for name, path in files_of(target)]
        except OSError as error:
            raise ModelUnavailable(f"{target} cannot be read: {error.strerror}", "Is it still there?") from error
        if len(files) == 1:
            return files[0][1]
        return _digest("\n".join(f"{name}\0{own}" for name, own in files).encode())

    def of_file(self, path: Path) -> str:
        """The identity of one file by place and samples. Raises OSError."""
        regular(path)
        place = place_of(path)
        if place not in self._samples:
            self._samples[place] = _sample(path, place.size)
        return _digest(f"{place} {self._samples[place]}".encode())

    def full(self, own: str) -> str | None:
        """SHA-256 of what has this identity, when it is known."""
        return self._kept.known.get(own)

    def note(self, own: str, sha256: str) -> None:
        """Of a file or a whole target. The next `of` knows it."""
        self._kept.known[own] = sha256
        self._first.setdefault(sha256, own)

    def settle(self, target: str, own: str, sha256: str | None) -> None:
        """The target has been read to its end, if it could be; it is kept for the next hub, and for `models show`."""
        if self.waiting.get(target) == own:
            del self.waiting[target]
        if not self.waiting:
            self.work.clear()
        if sha256 is None:
            return
        self.note(own, sha256)
        self._kept.targets[target] = Hashed(sha256, [place_of(path) for _, path in files_of(target)])
        while len(self._kept.known) > MOST:
            del self._kept.known[next(iter(self._kept.known))]
        self._write()

    def _write(self) -> None:
        if self._file is None:
            return
        try:
            write_whole(self._file, msgspec.json.encode(self._kept))
        except OSError as error:
            log.warning("the hashes of models cannot be written down", file=str(self._file), reason=error.strerror)


def files_of(target: str) -> list[tuple[str, Path]]:
    """Name and path of each file of a model: itself, the parts that it was split into, or all of its folder.

    Raises ModelUnavailable for a folder that is no model.
    """
    path = Path(target)
    if not path.is_dir():
        return [(part.name, part) for part in split.parts(path)]
    if not any((path / name).is_file() for name in MODEL_FILES):
        raise ModelUnavailable(f"{target} is a folder, and holds no model", "Is it still the same folder?")
    return [(str(file.relative_to(path)), file) for file in _below(path)]


def _below(folder: Path) -> Iterator[Path]:
    """Of a folder and those in it, by name, but for what is hidden: version control is no part of a model."""
    for entry in sorted(folder.iterdir()):
        if entry.name.startswith("."):
            continue
        if entry.is_dir():
            yield from _below(entry)
        else:
            yield entry


def _sample(path: Path, size: int) -> str:
    """Header, end, and blocks spread evenly between: a full hash of 40 GB is a coffee break."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        digest.update(file.read(HEADER))
        for index in range(SAMPLES + 1):
            file.seek(max(0, (size - BLOCK) * index // SAMPLES))
            digest.update(file.read(BLOCK))
    return digest.hexdigest()


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()
