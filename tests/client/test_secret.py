"""Secrets are checked and hidden, and what is no secret stays."""

import pytest

from llmctl import secret
from llmctl.errors import Storage
from llmctl.secret import HIDDEN, flaw, hide, remember, trimmed


@pytest.fixture(autouse=True)
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secret, "_known", set())


@pytest.mark.parametrize(
    "text",
    [
        "redis://ana:S3CR3T@host:1/0 fails", "http://S3CR3T@host", "http://ana:S3CR3T/x@host/v1", "b'Bearer S3CR3T\\r'",
        "https://h/v1?a=b&api_key=S3CR3T", "?token=S3CR3T#x", "Authorization: Basic S3CR3T",
        "hf_S3CR3Taaaaaaaaaaaa", "sk-proj-S3CR3Taaaaaaa",
    ],
)  # fmt: skip
def test_what_is_a_secret_by_its_form_is_hidden(text: str) -> None:
    assert "S3CR3T" not in hide(text)
    assert HIDDEN in hide(text)


@pytest.mark.parametrize(
    "text",
    [
        "redis://USER:PASSWORD@HOST:PORT/DB, with %XX for / : @ in a password", "http://h:1/v1 cannot be reached", "a@b",
        "max_tokens=3, key = 4", "--set key=value", "Basic English", "Bearer token missing", "the Bearer", "hf_hub", "task-force",
    ],
)  # fmt: skip
def test_other_text_stays(text: str) -> None:
    assert hide(text) == text


def test_a_known_secret_is_hidden_in_every_form() -> None:
    value, cut = trimmed("s3cr3t/with+signs\r\n")
    assert (value, cut) == ("s3cr3t/with+signs", True)
    assert trimmed("s3cr3t") == ("s3cr3t", False)
    for form in ("s3cr3t/with+signs", "s3cr3t%2Fwith%2Bsigns", "b's3cr3t/with+signs\\r'"):
        assert "s3cr3t" not in hide(f"it says {form}")
    remember("first\rsecond")
    assert hide("first, second") == f"{HIDDEN}, {HIDDEN}"
    remember("abc")
    assert hide("an abc") == "an abc", "too short to be told from a word"


def test_every_error_hides_what_is_known() -> None:
    remember("s3cr3t")
    error = Storage("s3cr3t in it", "a hint with s3cr3t")
    assert "s3cr3t" not in f"{error} {error.message} {error.hint} {error.fields()}"


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a b", "character 2 of 3 is a space"),
        ("ab\rc", "a line break"),
        ("a\x01", "a control character"),
        ("ä", "outside ASCII"),
    ],
)
def test_a_flaw_is_named_without_the_secret(value: str, words: str) -> None:
    assert words in str(flaw(value))
    assert value not in str(flaw(value))
    assert flaw("hf_ok") is None
