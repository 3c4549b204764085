"""A model's identity: it changes whenever the content may have changed, and returns once the hash shows it is the same."""

import hashlib
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from llmctld.models.catalogue.contents import BLOCK, HEADER, SAMPLES, Contents, files_of
from llmctld.models.catalogue.hashing import Hasher

from llmctl.errors import ModelUnavailable
from llmctl.hashes import file_identity, read_hashes, sha256_of
from tests.hub.scene import in_loop, until

SIZE = 3 * HEADER


def unsampled(size: int = SIZE) -> int:
    """The position of a byte that no sample covers."""
    starts = [(size - BLOCK) * index // SAMPLES for index in range(SAMPLES + 1)]
    return next(at for at in range(HEADER, size) if not any(start <= at < start + BLOCK for start in starts))


def flip(path: Path, at: int) -> None:
    """Changes the byte at that position."""
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "m.gguf").write_bytes(b"GGUF" + os.urandom(SIZE - 4))
    return tmp_path / "m.gguf"


@asynccontextmanager
async def hashing(contents: Contents, busy: Callable[[], bool] = lambda: False) -> AsyncIterator[Hasher]:
    hasher = Hasher(contents, busy)
    try:
        yield hasher
    finally:
        await hasher.close()


async def hashed(contents: Contents) -> None:
    """Waits until nothing is left to be hashed."""
    async with hashing(contents):
        await until(lambda: not contents.waiting)


def test_any_change_to_the_file_changes_the_identity(model: Path) -> None:
    contents = Contents()
    seen = {contents.of(str(model))}
    for at in (30, HEADER - 1, unsampled(), SIZE - 1):
        flip(model, at)
        os.utime(model, ns=(0, 0))  # unchanged times do not hide the change
        seen.add(contents.of(str(model)))
    with model.open("ab") as file:
        file.write(b"x")
    seen.add(contents.of(str(model)))
    assert len(seen) == 6
    assert contents.of(str(model)) in seen


@in_loop
async def test_hashed_files_with_equal_content_have_the_same_identity(model: Path, tmp_path: Path) -> None:
    contents = Contents(tmp_path / "hashes.json")
    first = contents.of(str(model))
    await hashed(contents)
    assert contents.of(str(model)) == first, "the first identity is kept"
    os.utime(model)
    (tmp_path / "copy.gguf").write_bytes(model.read_bytes())
    touched, copied = contents.of(str(model)), contents.of(str(tmp_path / "copy.gguf"))
    assert len({first, touched, copied}) == 3
    await hashed(contents)
    assert contents.of(str(model)) == contents.of(str(tmp_path / "copy.gguf")) == first
    assert contents.still(touched) == contents.still(copied) == first, "models loaded meanwhile stay valid"
    flip(model, unsampled())
    changed = contents.of(str(model))
    await hashed(contents)
    assert contents.of(str(model)) == changed != first


@in_loop
async def test_hashes_are_kept_for_the_next_hub(model: Path, tmp_path: Path) -> None:
    state = tmp_path / "hashes.json"
    before = Contents(state)
    first = before.of(str(model))
    await hashed(before)
    os.utime(model)
    before.of(str(model))
    await hashed(before)
    after = Contents(state)
    assert after.of(str(model)) == first
    assert not after.waiting
    right = hashlib.sha256(model.read_bytes()).hexdigest()
    assert sha256_of(read_hashes(state, print), str(model)) == right
    os.utime(model)
    assert sha256_of(read_hashes(state, print), str(model)) is None, "the file may have changed since"


@in_loop
async def test_identity_covers_all_parts_and_all_files_of_a_folder(tmp_path: Path) -> None:
    parts = [tmp_path / f"m-0000{number}-of-00002.gguf" for number in (1, 2)]
    for part in parts:
        part.write_bytes(b"GGUF" + os.urandom(100))
    folder = tmp_path / "folder"
    (folder / "1_Pooling").mkdir(parents=True)
    (folder / ".git").mkdir()
    for name in ("config.json", "model.safetensors", "1_Pooling/config.json", ".git/HEAD"):
        (folder / name).write_text(name)
    contents = Contents(tmp_path / "hashes.json")
    for target, file in ((parts[0], parts[1]), (folder, folder / "1_Pooling/config.json")):
        first = contents.of(str(target))
        await hashed(contents)
        flip(file, 5)
        changed = contents.of(str(target))
        assert changed != first
        flip(file, 5)
        assert contents.of(str(target)) not in (first, changed)
        await hashed(contents)
        assert contents.of(str(target)) == first
    assert [name for name, _ in files_of(str(folder))] == ["1_Pooling/config.json", "config.json", "model.safetensors"]
    lines = "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {name}\n" for name, path in files_of(str(folder))
    )
    assert sha256_of(read_hashes(tmp_path / "hashes.json", print), str(folder)) == (
        hashlib.sha256(lines.encode()).hexdigest()
    )


def test_missing_files_are_named_in_the_error(tmp_path: Path, model: Path) -> None:
    (tmp_path / "m-00001-of-00002.gguf").write_bytes(model.read_bytes())
    for target, missing in (("none.gguf", "none.gguf"), ("m-00001-of-00002.gguf", "m-00001"), (".", "without a model")):
        with pytest.raises(ModelUnavailable, match=missing):
            Contents().of(str(tmp_path / target))


def test_unreadable_hashes_are_reported_and_started_anew(tmp_path: Path, model: Path) -> None:
    (tmp_path / "hashes.json").write_text("{")
    told: list[str] = []
    assert read_hashes(tmp_path / "hashes.json", told.append).known == {}
    assert told[0].startswith("cannot read ")
    assert "hashes.json" in told[0]
    assert len(Contents(tmp_path / "hashes.json").of(str(model))) == 32


@in_loop
async def test_files_are_hashed_only_while_the_hub_is_idle(model: Path) -> None:
    contents, busy = Contents(), [True]
    contents.of(str(model))
    looks: list[bool] = []

    def is_busy() -> bool:
        looks.append(busy[0])
        return busy[0]

    async with hashing(contents, is_busy):
        await until(lambda: len(looks) >= 8)
        assert contents.waiting
        busy[0] = False
        await until(lambda: not contents.waiting)
    assert contents.full(contents.own(str(model))) == hashlib.sha256(model.read_bytes()).hexdigest()


@in_loop
async def test_file_changed_before_hashing_gets_no_hash_until_seen_again(model: Path) -> None:
    contents = Contents()
    own = contents.of(str(model))
    flip(model, unsampled())  # changed before it was hashed
    await hashed(contents)
    assert contents.full(own) is None
    contents.of(str(model))
    await hashed(contents)
    assert contents.full(contents.own(str(model))) is not None


@in_loop
async def test_closing_the_hub_does_not_wait_for_a_hash(tmp_path: Path) -> None:
    large = tmp_path / "large.gguf"
    with large.open("wb") as file:
        file.write(b"GGUF")
        file.truncate(2**40)  # a sparse file that would take an hour to hash
    contents = Contents()
    contents.of(str(large))
    hasher = Hasher(contents, lambda: False)
    await until(lambda: hasher._go.is_set())
    await hasher.close()
    assert contents.full(contents.own(str(large))) is None
    assert file_identity(large).size == 2**40


def test_links_back_into_a_folder_are_not_followed(tmp_path: Path) -> None:
    """Two of them would be two to the power of forty files."""
    folder = tmp_path / "m"
    (folder / "deeper").mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    for name in ("a", "b", "deeper/c", "deeper/d"):
        (folder / name).symlink_to(folder)
    assert [name for name, _ in files_of(str(folder))] == ["config.json"]
