"""Addresses of pages of the Hugging Face hub, as people copy them from a browser: which repository and file they mean.

It knows the form of these addresses and asks nobody whether there is such a repository.
"""

import os
import re
from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

from llmctl.errors import InvalidRequest

HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
PAGES = ("tree", "blob", "resolve", "raw", "commit", "discussions")
"""What may stand behind OWNER/NAME."""
OTHERS = ("datasets", "spaces", "collections", "papers", "docs", "blog", "models", "api")
"""What stands in an owner's place, and is none."""
HINT = "A model's page reads https://huggingface.co/OWNER/NAME; `llmctl pull OWNER/NAME[:FILE]` names the same."
SCHEME = re.compile(r"https?://|hf://", re.IGNORECASE)


class Repo(NamedTuple):
    """A repository, and a file of it or a quantisation."""

    name: str
    file: str | None

    def __str__(self) -> str:
        return self.name if self.file is None else f"{self.name}:{self.file}"


def repo_of(given: str, environ: Mapping[str, str] = os.environ) -> Repo:
    """What `pull` was given: REPO[:FILE], or the address of a page. Raises InvalidRequest for a page that is no model's."""
    if not is_page(given, environ):
        if SCHEME.match(given):
            raise InvalidRequest(f"{given} is no page of the Hugging Face hub", HINT)
        name, _, file = given.partition(":")
        return Repo(name, file or None)
    parts = [unquote(part) for part in _path(given).split("/") if part]
    if len(parts) < 2 or parts[0] in OTHERS:
        raise InvalidRequest(f"{given} is no page of a model", HINT)
    name, _, file = parts[1].partition(":")  # as others let one name a quantisation: hf.co/OWNER/NAME:Q4_K_M
    repo, page = f"{parts[0]}/{name}", parts[2:]
    if page and page[0] not in PAGES:
        raise InvalidRequest(f"{given} is no page of a model: behind {repo} stands {page[0]!r}", HINT)
    if len(page) > 1 and page[0] in PAGES[:4] and page[1] != "main":
        raise InvalidRequest(
            f"{given} names the version {page[1]!r}, and only `main` is fetched", f"`llmctl pull {repo}`"
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
    parts = urlsplit(given if SCHEME.match(given) else f"https://{given}")
    return parts.netloc.lower(), parts.path


def _host(given: str) -> str:
    return _split(given)[0]


def _path(given: str) -> str:
    return _split(given)[1]
