"""Models for the engine's tests: tiny files written once per session, and one loaded model that many tests step."""

from pathlib import Path

import pytest
from llmctld.engine.llama.model import Gguf

from tests.engine.driver import llama
from tests.tiny_gguf import CHAT_TEMPLATE, write


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with base.gguf (no chat template) and chat.gguf (one that the vocabulary's control tokens belong to)."""
    folder = tmp_path_factory.mktemp("models")
    write(folder / "base.gguf")
    write(folder / "chat.gguf", chat_template=CHAT_TEMPLATE)
    return folder


@pytest.fixture(scope="session")
def base(files: Path) -> Gguf:
    """Four slots; what one test leaves in the KV memory must never show in another."""
    return Gguf(llama(files / "base.gguf"))


@pytest.fixture(scope="session")
def chat(files: Path) -> Gguf:
    return Gguf(llama(files / "chat.gguf"))
