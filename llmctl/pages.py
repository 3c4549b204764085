"""Addresses of Hugging Face pages, as copied from a browser: the repository and the file that they name.

It knows the form of these addresses and does not check that the repository exists.
"""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from llmctl.errors import InvalidRequest

HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
PAGES = ("tree", "blob", "resolve", "raw", "commit", "discussions")
"""What may follow OWNER/NAME."""
OTHERS = ("datasets", "spaces", "collections", "papers", "docs", "blog", "models", "api")
"""First parts of an address that are not owners."""
HINT = "The page of a model is https://huggingface.co/OWNER/NAME; `llmctl pull OWNER/NAME[:FILE]` downloads it."
SCHEME = re.compile(r"https?://|hf://", re.IGNORECASE)


class Repo(NamedTuple):
    """A repository, and a file of it or a quantisation."""

    name: str
    file: str | None

    def __str__(self) -> str:
        return self.name if self.file is None else f"{self.name}:{self.file}"


def repo_of(given: str, environ: Mapping[str, str] = os.environ) -> Repo:
    """Reads the argument of `pull`: REPO[:FILE], or the address of a page. Raises InvalidRequest for other pages."""
    if not is_page(given, environ):
        if SCHEME.match(given):
            raise InvalidRequest(f"{given} is not a page of Hugging Face", HINT)
        name, _, file = given.partition(":")
        return Repo(name, file or None)
    parts = [unquote(part) for part in _path(given).split("/") if part]
    if len(parts) < 2 or parts[0] in OTHERS:
        raise InvalidRequest(f"{given} is not the page of a model", HINT)
    name, _, file = parts[1].partition(":")  # as others let one name a quantisation: hf.co/OWNER/NAME:Q4_K_M
    repo, page = f"{parts[0]}/{name}", parts[2:]
    if page and page[0] not in PAGES:
        raise InvalidRequest(f"{given} is not the page of a model: {repo} is followed by {page[0]!r}", HINT)
    if len(page) > 1 and page[0] in PAGES[:4] and page[1] != "main":
        raise InvalidRequest(
            f"{given} names the version {page[1]!r}, but only `main` can be downloaded",
            f"`llmctl pull {repo}` downloads it.",
        )
    if page[:1] == ["tree"] and len(page) > 2:
        folder = "/".join(page[2:])
        raise InvalidRequest(
            f"{given} names the folder {folder} of {repo}", f"Name a file of it: `llmctl pull {repo}:FILE`."
        )
    if page and page[0] in PAGES[1:4] and len(page) > 2:
        file = "/".join(page[2:])
    return Repo(repo, file or None)


def is_page(given: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether it leads to the Hugging Face hub, or to the copy of it that HF_ENDPOINT names, and is no endpoint's /v1 there."""
    if given.lower().startswith("hf://"):
        return True
    host, path = _host(given), _path(given).rstrip("/")
    if host in HOSTS:
        return SCHEME.match(given) is not None or "/" in path.lstrip("/")
    own = environ.get("HF_ENDPOINT", "")
    return bool(own) and SCHEME.match(given) is not None and host == _host(own) and not path.endswith("/v1")


def _split(given: str) -> tuple[str, str]:
    """Host and path. Without a scheme the first part is the host."""
    if given.lower().startswith("hf://"):
        return HOSTS[0], given[5:]
    try:
        parts = urlsplit(given if SCHEME.match(given) else f"https://{given}")
    except ValueError:  # a bracket without its other half: no page of anybody
        return "", given
    return parts.netloc.lower(), parts.path


def _host(given: str) -> str:
    return _split(given)[0]


def _path(given: str) -> str:
    return _split(given)[1]
