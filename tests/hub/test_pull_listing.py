"""The listing of a repository: whatever an endpoint sends in its place is ModelUnavailable."""

from collections.abc import Iterator

import pytest
from llmctld.models.pull import repository
from llmctld.models.pull.choose import RepoFile
from llmctld.models.pull.repository import FetchRequest

from llmctl.errors import ModelUnavailable
from tests.tiny_hub import Hub, Repository, tiny_hub

FILE = b'{"siblings": [{"rfilename": "a-Q4_0.gguf", %s}]}'
LONG = b"a" * 10**6
WRONG = {
    "no JSON": b"<html>Please log in</html>",
    "empty": b"",
    "cut off": FILE[:20],
    "a list": b"[]",
    "a number": b"7",
    "without files": b'{"error": "no"}',
    "files as text": b'{"siblings": "x"}',
    "a size as text": FILE % b'"size": "x"',
    "a size below zero": FILE % b'"size": -1',
    "a size in fractions": FILE % b'"size": 1.5',
    "a size without end": FILE % b'"size": 1e999',
    "a hash as a number": FILE % b'"size": 1, "blobId": 7',
    "an object without a hash": FILE % b'"size": 1, "lfs": {"size": 1}',
    "a long hash": FILE % (b'"size": 1, "blobId": "%s"' % LONG),
    "a long commit": b'{"siblings": [], "sha": "%s"}' % LONG,
    "a file without a name": b'{"siblings": [{"size": 1}]}',
    "no UTF-8": b'{"siblings": [{"rfilename": "\xff.gguf", "size": 1}]}',
    "brackets": b'{"siblings": ' + b"[" * 100_000,
}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with tiny_hub(ana__tiny=Repository({})) as made:
        yield made


def files(hub: Hub, listing: bytes) -> list[RepoFile]:
    hub.repositories["ana/tiny"].listing = listing
    want = FetchRequest(repo="ana/tiny", file=None, endpoint=hub.url, token=None, folder="", room=0)
    with repository.translated_errors(want):
        return repository.files(want)[0]


@pytest.mark.parametrize("kind", WRONG)
def test_a_listing_that_is_none_is_refused_with_the_reason(hub: Hub, kind: str) -> None:
    with pytest.raises(ModelUnavailable, match=r"sends no listing of ana/tiny: .") as refused:
        files(hub, WRONG[kind])
    assert len(refused.value.message) < 300
    assert "HF_ENDPOINT" in refused.value.hint


def test_files_without_size_or_hash_are_listed_and_names_that_cannot_be_stored_are_not(hub: Hub) -> None:
    listing = b'{"siblings": [{"rfilename": "a"}, {"rfilename": "%s"}, {"rfilename": "../b"}], "x": 1}'
    assert files(hub, listing % LONG) == [RepoFile("a", 0, "")]
    assert files(hub, b'{"siblings": null}') == []


def test_hundreds_of_interruptions_are_no_bug() -> None:
    """The library calls itself after each."""
    want = FetchRequest(repo="ana/tiny", file=None, endpoint="http://h", token=None, folder="", room=0)
    with (
        pytest.raises(ModelUnavailable, match=r"http://h interrupted the transfer"),
        repository.translated_errors(want),
    ):
        raise RecursionError
