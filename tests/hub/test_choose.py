"""Which files of a repository are chosen, by name alone, and the errors if none fits."""

import pytest
from llmctld.models.catalogue import split
from llmctld.models.pull.choose import RepoFile, choose

from llmctl.errors import ModelUnavailable

GIB = 2**30


def taken(*names: str, wanted: str | None = None, room: int = GIB) -> list[str]:
    choice = choose("o/n", [RepoFile(name, 100 + number, "") for number, name in enumerate(names)], wanted, room)
    return [file.name for file in choice.files]


@pytest.mark.parametrize(
    ("names", "wanted", "result"),
    [
        (["m.Q4_0.gguf", "m.Q4_K_M.gguf", "m.Q2_K.gguf"], None, ["m.Q4_K_M.gguf"]),
        (["m-q8_0.gguf", "m-q4_0.gguf"], None, ["m-q4_0.gguf"]),
        (["m-Q4_0_4_4.gguf", "m-Q4_0.gguf"], None, ["m-Q4_0.gguf"]),
        (["m-IQ4_0.gguf", "m-Q8_0.gguf"], None, ["m-Q8_0.gguf"]),
        (["mmproj-Q8_0.gguf", "m-Q4_0.gguf"], None, ["m-Q4_0.gguf"]),
        (["a/m-Q4_0-00002-of-00002.gguf", "a/m-Q4_0-00001-of-00002.gguf"], None,
         ["a/m-Q4_0-00001-of-00002.gguf", "a/m-Q4_0-00002-of-00002.gguf"]),
        (["m-Q2_K.gguf", "m-Q4_0.gguf"], "m-Q2_K.gguf", ["m-Q2_K.gguf"]),
        (["m-Q2_K.gguf", "m-Q4_0.gguf"], "q2_k", ["m-Q2_K.gguf"]),
        (["config.json", "model.safetensors", "consolidated.safetensors", "pytorch_model.bin", "x.md", "tokenizer.json"], None,
         ["config.json", "model.safetensors", "tokenizer.json"]),
    ],
    ids=lambda value: None if isinstance(value, list) else str(value),
)  # fmt: skip
def test_usual_file_names_are_chosen(names: list[str], wanted: str | None, result: list[str]) -> None:
    assert taken(*names, wanted=wanted) == result


def test_largest_fitting_file_is_chosen() -> None:
    there = [
        RepoFile("a-Q8_0.gguf", 8 * GIB, ""),
        RepoFile("a-Q4_K_M.gguf", 4 * GIB, ""),
        RepoFile("a-Q4_0.gguf", 3 * GIB, ""),
    ]
    for room, name in ((9, "a-Q8_0"), (7, "a-Q4_K_M"), (3, "a-Q4_0")):
        assert choose("o/a", there, None, room * GIB).name == name
    with pytest.raises(ModelUnavailable, match=r"fits into 2\.0 GiB") as caught:
        choose("o/a", there, None, 2 * GIB)
    assert "a-Q4_0.gguf (3.0 GiB)" in caught.value.hint


@pytest.mark.parametrize(
    ("names", "wanted", "words"),
    [
        (["m-Q4_0-00001-of-00002.gguf"], None, "lacks m-Q4_0-00002-of-00002.gguf"),
        (["m-Q2_K.gguf"], None, "has no Q4_K_M, Q4_0 or Q8_0 among its files"),
        (["a-Q2_K.gguf", "b-Q2_K.gguf"], "Q2_K", "has 2 models that match 'Q2_K'"),
        (["model.safetensors"], None, "no safetensors with a config.json"),
        ([], None, "contains no usable model"),
    ],
)
def test_unusable_repositories_are_refused_with_the_reason(names: list[str], wanted: str | None, words: str) -> None:
    with pytest.raises(ModelUnavailable, match=words):
        taken(*names, wanted=wanted)


def test_parts_of_a_split_file_are_found_by_their_numbers() -> None:
    assert split.names("a-00002-of-00003.gguf") == [f"a-0000{number}-of-00003.gguf" for number in (1, 2, 3)]
    assert split.names("a.gguf") == ["a.gguf"]
    assert split.names("a-00004-of-00003.gguf") == ["a-00004-of-00003.gguf"]
    assert split.whole("x/a-00001-of-00003.gguf") == "x/a.gguf"
