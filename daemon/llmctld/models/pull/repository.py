"""What the library of the Hugging Face hub knows of a repository: its files, the bytes of one, and why it is refused.

It runs in the child that fetches (fetch.py), and imports the library on first use; where bytes go it does not decide.
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
"""Bytes that are written at once: what is lost when all goes dark. The library gathers 10 MiB."""


class Want(msgspec.Struct, kw_only=True):
    """What to fetch, from where and into which folder. `room`: bytes that a model may take in memory."""

    repo: str
    file: str | None
    endpoint: str | None
    token: str | None
    folder: str
    room: int


def choose_the_library(want: Want) -> None:
    """It reads these when it is imported. Its own protocol for large files cannot go on where a transfer was cut off."""
    os.environ |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_ENDPOINT"):
        os.environ.pop(name, None)  # those of whoever asks count, and not those of who started the hub
    if want.endpoint:
        os.environ["HF_ENDPOINT"] = want.endpoint


@contextmanager
def named(want: Want) -> Iterator[None]:
    """The library's errors, and the system's, as ours."""
    import httpx2
    from huggingface_hub import constants
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, OfflineModeIsEnabled

    place = want.endpoint or constants.ENDPOINT
    try:
        yield
    except HFValidationError as error:
        raise ModelUnavailable(
            f"{want.repo!r} is no name of a repository", "It reads OWNER/NAME, or OWNER/NAME:FILE."
        ) from error
    except HfHubHTTPError as error:
        raise _refused(want, place, error.response.status_code if error.response is not None else 0) from error
    except (httpx2.HTTPError, OfflineModeIsEnabled) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise ModelUnavailable(
            f"{place} cannot be reached for {want.repo}: {reason}",
            "Check the connection, and HF_ENDPOINT if it is set; what has come is kept, and the same command goes on there.",
        ) from error
    except OSError as error:
        if error.errno is None:  # the library's own: fewer bytes came than were promised, and nobody said why
            reason = str(error).partition("\n")[0]
            raise ModelUnavailable(f"{place} broke off {want.repo}: {reason}", "Pull it again.") from error
        raise Storage(f"{want.repo} cannot be stored in {want.folder}: {error.strerror or error}") from error


def _refused(want: Want, place: str, status: int) -> ModelUnavailable:
    token = "the token" if want.token else "no token"
    if status == 401:
        return ModelUnavailable(
            f"{place} refuses {want.repo} with {token} (status 401): it is private or gated, or there is none",
            "Check its name; set HF_TOKEN to a token that may read it.",
        )
    if status == 403:
        return ModelUnavailable(
            f"{want.repo} is gated, and {place} refuses it with {token} (status 403)",
            "Ask for access on its page, and set HF_TOKEN to a token of that account.",
        )
    if status == 404:
        return ModelUnavailable(f"there is no repository {want.repo} at {place}", "Check its name: OWNER/NAME.")
    return ModelUnavailable(
        f"{place} answered with status {status} for {want.repo}", "Ask again later; what has come is kept."
    )


def files(want: Want) -> tuple[list[RepoFile], str]:
    """The files of the repository as they are now, and the commit that is now."""
    from huggingface_hub import HfApi

    info = HfApi(endpoint=want.endpoint, token=want.token).model_info(want.repo, files_metadata=True)
    revision = info.sha or "main"
    found = []
    for file in info.siblings or []:
        name = file.rfilename
        if ".." in PurePosixPath(name).parts or name.startswith("/") or "\\" in name or not name.isprintable():
            continue  # a path that leads out of the folder, or a name that would play with the terminal
        digest = file.lfs.sha256 if file.lfs else file.blob_id
        found.append(RepoFile(name, file.size or 0, digest or ""))
    return found, revision


def fetch(want: Want, file: RepoFile, revision: str, into: Any, begun: int) -> None:
    """Writes what comes behind the first `begun` bytes; `into` is a file, which is emptied where the server sends all."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import hf_hub_url, http_get
    from huggingface_hub.utils import build_hf_headers  # type: ignore[attr-defined]

    constants.DOWNLOAD_CHUNK_SIZE = CHUNK
    url = hf_hub_url(want.repo, file.name, revision=revision, endpoint=want.endpoint)
    # as it is: of a compressed answer nobody could ask for the rest
    headers = build_hf_headers(token=want.token) | {"accept-encoding": "identity"}
    http_get(url, into, resume_size=begun, headers=headers, expected_size=file.size)
