"""Addresses of Hugging Face pages in each form that users copy, and those that are no model."""

import pytest

from llmctl.errors import InvalidRequest
from llmctl.pages import is_page, repo_of

OWN = {"HF_ENDPOINT": "http://mirror.example:8080"}


@pytest.mark.parametrize(
    ("given", "repo"),
    [
        ("a/b", "a/b"), ("a/b:Q4_K_M", "a/b:Q4_K_M"), ("gpt2", "gpt2"),
        ("https://huggingface.co/a/b", "a/b"), ("https://huggingface.co/a/b/", "a/b"), ("http://www.HuggingFace.co/a/b", "a/b"),
        ("https://huggingface.co/a/b/tree/main", "a/b"), ("https://hf.co/a/b", "a/b"), ("hf.co/a/b", "a/b"), ("hf://a/b", "a/b"),
        ("huggingface.co/a/b", "a/b"), ("hf.co/a/b:Q4_K_M", "a/b:Q4_K_M"),
        ("https://huggingface.co/a/b/blob/main/c.gguf", "a/b:c.gguf"),
        ("https://huggingface.co/a/b/resolve/main/sub/c.gguf?download=true", "a/b:sub/c.gguf"),
        ("https://huggingface.co/a/b/raw/main/config%20x.json#L3", "a/b:config x.json"),
        ("https://huggingface.co/a/b?library=llama-cpp", "a/b"), ("https://huggingface.co/a/b/discussions/1", "a/b"),
        ("http://mirror.example:8080/a/b/blob/main/c.gguf", "a/b:c.gguf"),
    ],
)  # fmt: skip
def test_page_addresses_are_resolved_to_repository_and_file(given: str, repo: str) -> None:
    assert str(repo_of(given, OWN)) == repo


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("https://example.com/a/b", "not a page of Hugging Face"),
        ("http://mirror.example/a/b", "not a page of Hugging Face"),
        ("https://huggingface.co/a", "not the page of a model"),
        ("https://huggingface.co/datasets/a/b", "not the page of a model"),
        ("https://huggingface.co/a/b/settings", "followed by 'settings'"),
        ("https://huggingface.co/a/b/tree/v1.1", "only `main` can be downloaded"),
        ("https://huggingface.co/a/b/blob/0123abc/c.gguf", "only `main` can be downloaded"),
        ("https://huggingface.co/a/b/tree/main/Q4", "names the folder Q4"),
    ],
)
def test_addresses_that_are_no_model_page_are_refused_with_the_reason(given: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        repo_of(given, OWN)
    assert "llmctl pull" in caught.value.hint


def test_endpoint_addresses_are_not_taken_for_pages() -> None:
    for target in (
        "https://router.huggingface.co/v1",
        "http://localhost:8080/v1",
        "http://mirror.example:8080/v1",
        "echo",
        "a/b",
    ):
        assert not is_page(target, OWN), target
    assert not is_page("http://mirror.example:8080/a/b", {})
    assert is_page("https://huggingface.co/a/b", {})
