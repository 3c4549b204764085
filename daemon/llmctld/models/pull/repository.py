"""A repository of the Hugging Face hub: its files, downloading one, and the library's errors.

Runs in the download process (fetch.py) and imports the library on first use.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Annotated, Any

import msgspec

from llmctl.errors import ModelUnavailable, Storage
from llmctld.models.pull.choose import RepoFile
from llmctld.models.pull.http import limited_client, read_listing

CHUNK = 2**16
"""Bytes written at once, the most that a power cut loses. The library's default is 10 MiB."""
LISTING_TIMEOUT_S = 60
"""Seconds without a byte of the listing."""
NAME_BYTES = 200
"""Maximum length of each part of a file's name. A file system takes 255; the name of a partial file is longer by 23."""
Hash = Annotated[str, msgspec.Meta(max_length=128)]


class ListedObject(msgspec.Struct):
    """A file in git-lfs."""

    sha256: Hash


class ListedFile(msgspec.Struct, rename={"name": "rfilename", "blob": "blobId"}):
    name: str
    size: Annotated[int, msgspec.Meta(ge=0)] | None = None
    blob: Hash | None = None
    lfs: ListedObject | None = None


class Listing(msgspec.Struct, rename={"files": "siblings", "commit": "sha"}):
    """What is read of the answer to /api/models/OWNER/NAME?blobs=true: all files at once, without pages."""

    files: list[ListedFile] | None
    commit: Hash | None = None


class WrongFile(Exception):
    """What was received is not the file of the listing, and no download can continue it. The text follows its name."""


class FetchRequest(msgspec.Struct, kw_only=True):
    """What to download, and where to. `room`: bytes of memory for a model."""

    repo: str
    file: str | None
    endpoint: str | None
    token: str | None
    folder: str
    room: int


def choose_the_library(want: FetchRequest) -> None:
    """Configures the library before its import. Its xet protocol is off: it cannot resume an interrupted transfer."""
    os.environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT"):
        os.environ.pop(name, None)  # the client's variables count, not those the hub was started with
    if want.endpoint:
        os.environ["HF_ENDPOINT"] = want.endpoint


@contextmanager
def translated_errors(want: FetchRequest) -> Iterator[None]:
    """Converts exceptions of the library and of the system to llmctl's errors."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    place = want.endpoint or constants.ENDPOINT
    try:
        yield
    except HFValidationError as error:
        raise ModelUnavailable(
            f"{want.repo!r} is not a repository name", "Write OWNER/NAME or OWNER/NAME:FILE."
        ) from error
    except HfHubHTTPError as error:
        raise _refused(want, place, error.response.status_code if error.response is not None else 0) from error
    except httpx2.InvalidURL as error:  # the endpoint has been checked
        hint = "Correct the *_PROXY variables, then run `llmctl daemon restart`."
        raise ModelUnavailable(f"{place} cannot be reached: the address of its proxy is not valid", hint) from error
    except (httpx2.HTTPError, OfflineModeIsEnabled) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ModelUnavailable(
            f"{place} cannot be reached for {want.repo}: {reason}",
            "Check the connection, and HF_ENDPOINT if it is set. Partial files are kept; run the command again to continue.",
        ) from error
    except RecursionError as error:  # the library calls itself at each interruption after which something came
        raise ModelUnavailable(
            f"{place} interrupted the transfer of {want.repo} several hundred times",
            "Run the command again to continue.",
        ) from error
    except OSError as error:
        if error.errno is None:  # the library's own: fewer bytes than announced were received
            reason = str(error).partition("\n")[0]
            raise ModelUnavailable(
                f"{place} interrupted the transfer of {want.repo}: {reason}", "Run the command again."
            ) from error
        raise Storage(f"{want.repo} cannot be stored in {want.folder}: {error.strerror or error}") from error


def _refused(want: FetchRequest, place: str, status: int) -> ModelUnavailable:
    token = "the token" if want.token else "no token"
    if status == 401:
        return ModelUnavailable(
            f"{place} refuses {want.repo} with {token} (status 401): it is private, gated, or does not exist",
            "Check its name, or set HF_TOKEN to a token that may read it.",
        )
    if status == 403:
        return ModelUnavailable(
            f"{want.repo} is gated, and {place} refuses it with {token} (status 403)",
            "Request access on its page, and set HF_TOKEN to a token of that account.",
        )
    if status == 404:
        return ModelUnavailable(f"there is no repository {want.repo} at {place}", "Check its name: OWNER/NAME.")
    return ModelUnavailable(
        f"{place} answered with status {status} for {want.repo}", "Try again later. Partial files are kept."
    )


def files(want: FetchRequest) -> tuple[list[RepoFile], str]:
    """The current files of the repository, and the commit they belong to."""
    listing = _listing(want)
    found = []
    for file in listing.files or []:
        if _is_safe(file.name):
            digest = file.lfs.sha256 if file.lfs else file.blob
            found.append(RepoFile(file.name, file.size or 0, digest or ""))
    return found, listing.commit or "main"


def _is_safe(name: str) -> bool:
    """False for a path out of the folder, a name with terminal control characters, and one that no file system takes."""
    parts = PurePosixPath(name).parts
    if ".." in parts or name.startswith("/") or "\\" in name or not name.isprintable():
        return False
    return all(len(part.encode()) <= NAME_BYTES for part in parts)


def _listing(want: FetchRequest) -> Listing:
    from huggingface_hub import constants
    from huggingface_hub.utils import hf_raise_for_status, validate_repo_id  # type: ignore[attr-defined]

    validate_repo_id(want.repo)
    place = want.endpoint or constants.ENDPOINT
    asked = limited_client().stream(
        "GET",
        f"{place}/api/models/{want.repo}",
        params={"blobs": True},
        headers=_headers(want),
        timeout=LISTING_TIMEOUT_S,
    )
    with asked as response:
        hf_raise_for_status(response)
        body = read_listing(response)
    try:
        return msgspec.json.decode(body, type=Listing)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ModelUnavailable(
            f"{place} sends no listing of {want.repo}: {error}",
            "Check HF_ENDPOINT if it is set, and whether a proxy or a login page answers in its place.",
        ) from error


def _headers(want: FetchRequest) -> dict[str, str]:
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    # uncompressed: a transfer can only resume in an uncompressed body, and a small one cannot grow when it is unpacked
    return build_hf_headers(token=want.token) | {"accept-encoding": "identity"}


def fetch(want: FetchRequest, file: RepoFile, revision: str, into: Any, begun: int) -> None:
    """Downloads the file from byte `begun` on. `into` is truncated if the server sends the whole file. Raises WrongFile
    if the server's file ends before `begun`.
    """
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import hf_hub_url, http_get

    limited_client()
    constants.DOWNLOAD_CHUNK_SIZE = CHUNK
    constants.MAX_HTTP_DOWNLOAD_SIZE = sys.maxsize  # the server decides; the library's refusal is a ValueError
    url = hf_hub_url(want.repo, file.name, revision=revision, endpoint=want.endpoint)
    try:
        http_get(url, into, resume_size=begun, headers=_headers(want), expected_size=file.size)
    except HfHubHTTPError as error:
        if error.response is not None and error.response.status_code == 416:
            raise WrongFile(f"ends before byte {begun}, but the listing says {file.size} bytes") from error
        raise
