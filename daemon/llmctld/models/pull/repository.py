"""A repository of the Hugging Face hub: its files, downloading one, and the library's errors.

Runs in the download process (fetch.py) and imports the library on first use.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import Any

import msgspec

from llmctl.errors import ModelUnavailable, Storage
from llmctld.models.pull.choose import RepoFile

CHUNK = 2**16
"""Bytes written at once, the most that a power cut loses. The library's default is 10 MiB."""


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
    from huggingface_hub import HfApi

    info = HfApi(endpoint=want.endpoint, token=want.token).model_info(want.repo, files_metadata=True)
    revision = info.sha or "main"
    found = []
    for file in info.siblings or []:
        name = file.rfilename
        if ".." in PurePosixPath(name).parts or name.startswith("/") or "\\" in name or not name.isprintable():
            continue  # a path out of the folder, or a name with terminal control characters
        digest = file.lfs.sha256 if file.lfs else file.blob_id
        found.append(RepoFile(name, file.size or 0, digest or ""))
    return found, revision


def fetch(want: FetchRequest, file: RepoFile, revision: str, into: Any, begun: int) -> None:
    """Downloads the file from byte `begun` on. `into` is truncated if the server sends the whole file."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import hf_hub_url, http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    constants.DOWNLOAD_CHUNK_SIZE = CHUNK
    url = hf_hub_url(want.repo, file.name, revision=revision, endpoint=want.endpoint)
    # uncompressed, since a transfer can only resume in an uncompressed body
    headers = build_hf_headers(token=want.token) | {"accept-encoding": "identity"}
    http_get(url, into, resume_size=begun, headers=headers, expected_size=file.size)
