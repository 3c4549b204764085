"""The catalogue of models: labels and prices, files used in place, and caches of other programs."""

import json
import os
from pathlib import Path

import pytest

from tests import tiny_bert, tiny_gguf
from tests.e2e.house import House
from tests.tiny_hub import COMMIT

ONE = ("--raw", "--temperature", "0", "--max-tokens", "5", "-q")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache as the Hugging Face hub's own program leaves it: blobs by their hash, and links to them."""
    hub = tmp_path_factory.mktemp("huggingface") / "hub"
    source = tmp_path_factory.mktemp("source")
    tiny_gguf.write(source / "a-Q8_0.gguf", seed=7)
    tiny_gguf.write(source / "big.gguf", seed=7, split=8)
    fill(hub / "models--ana--tiny", [source / "a-Q8_0.gguf"])
    fill(hub / "models--ana--two", [source / "a-Q8_0.gguf", source / "a-Q8_0.gguf"], names=["a.gguf", "b.gguf"])
    fill(hub / "models--ana--big", sorted(source.glob("big-*")))
    folder = tiny_bert.write(source / "bert")
    files = [file for file in folder.rglob("*") if file.is_file()]
    fill(hub / "models--ana--bert", files, names=[str(file.relative_to(folder)) for file in files])
    (hub / "models--ana--empty").mkdir()
    return hub


def fill(repository: Path, files: list[Path], names: list[str] | None = None) -> None:
    (repository / "blobs").mkdir(parents=True)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    for number, (file, name) in enumerate(zip(files, names or [file.name for file in files], strict=True)):
        blob, link = repository / "blobs" / f"{number:064}", repository / "snapshots" / COMMIT / name
        blob.write_bytes(file.read_bytes())
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))


# ---- labels and prices ----------------------------------------------------------------------------------------------


def test_tier_tags_and_prices_are_stored_shown_and_overridden_by_the_configuration(house: House) -> None:
    flags = (
        "--tier",
        "premium",
        "--price-in",
        "0.15",
        "--price-cached",
        "0.075",
        "--price-out",
        "2",
        "--tag",
        "a",
        "--tag",
        "b",
    )
    added = house.ok("models", "add", "m", "echo", *flags, "--alias", "mm", "--json").last
    wanted = {"tier": "premium", "tags": ["a", "b"], "price_in": 0.15, "price_cached": 0.075, "price_out": 2.0}
    assert added["settings"] == wanted
    assert house.ok("models", "ls", "--json").last["settings"] == wanted
    assert house.ok("models", "show", "mm", "--json").last["settings"] == wanted
    assert json.loads((house.place / "models" / "m.json").read_text())["settings"]["price_in"] == "0.15", "a decimal"
    shown = house.ok("models", "show", "m").out
    assert "setting price_out     2" in shown
    assert "setting tags          a, b" in shown
    assert "premium" in house.ok("models", "ls").out
    written = '# mine\n[models.m]\nprice_in = 0.30\ntier = "economy"\n'
    (house.place / "config.toml").write_text(written)
    house.ok("ask", "hi", "-m", "m")
    assert (house.place / "config.toml").read_text() == written, "what a user wrote is never rewritten"


def test_changing_a_price_keeps_stored_answers_valid(house: House) -> None:
    house.echo("m")
    house.ok("ask", "hi", "-m", "m")
    house.ok("models", "add", "m", "echo", "--price-in", "1", "--tier", "economy", "--force")
    assert house.ok("ask", "hi", "-m", "m", "--json", "--no-stream").last["cache"]["hit"] == "memory"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--tier", "best"], ["tier", "premium, standard, economy"]),
        (["--price-in", "-1"], ["price_in is -1"]),
        (["--price-out", "nan"], ["price_out is NaN"]),
        (["--price-cached", "much"], ["price_cached"]),
        (["--set", "tags=a"], ["tags is 'a'", "JSON"]),
    ],
    ids=lambda value: "=".join(value) if value[0].startswith("--") else "",
)
def test_an_invalid_tier_tag_or_price_is_refused_and_named(shared: House, flags: list[str], words: list[str]) -> None:
    outcome = shared.run("models", "add", "x", "echo", *flags)
    assert outcome.status == 5, outcome
    assert not [word for word in words if word not in outcome.err], outcome.err


def test_adding_a_model_does_not_rewrite_the_files_of_others(house: House) -> None:
    house.echo("a")
    file = house.place / "models" / "a.json"
    mine = json.dumps(json.loads(file.read_text()) | {"aliases": ["by-hand"]})
    file.write_text(mine)
    house.ok("daemon", "restart")
    house.ok("models", "add", "b", "echo", "--alias", "bb")
    house.ok("models", "rm", "b", "--yes")
    assert file.read_text() == mine
    assert house.ok("ask", "hi", "-m", "by-hand").out == "hi\n"


def test_settings_and_aliases_of_an_added_model_can_be_changed(house: House) -> None:
    house.place.mkdir()
    (house.place / "config.toml").write_text("[models.m]\nslots = 3\n")
    house.ok("models", "add", "m", "echo", "--set", "token_ms=1", "--set", "context=64", "--alias", "old")
    house.ok("ask", "hi", "-m", "m")
    before = house.ok("ps", "--json").last["pid"]

    labelled = house.ok("models", "set", "old", "tier=economy", 'tags=["a"]', "--alias", "mm")
    assert labelled.err == "llmctl: changed model m; `llmctl models show m` shows its settings\n", "no load is needed"
    changed = house.ok(
        "models", "set", "mm", "context=100", "slots=2", "--unset", "token_ms", "--unalias", "old", "--json"
    )
    assert (changed.last["aliases"], changed.last["settings"]) == (
        ["mm"], {"context": 100, "tier": "economy", "tags": ["a"], "slots": 2},
    )  # fmt: skip
    assert [json.loads(line)["notice"] for line in changed.err.splitlines()] == [
        "the configuration sets models.m.slots = 3, which takes precedence",
        "m is loaded with its earlier settings; the next request loads it again",
    ]
    house.ok("ask", "again", "-m", "mm")
    after = house.ok("ps", "--json").last
    assert (after["pid"] == before, after["context"], after["slots"]) == (False, 100, 3)
    house.ok("daemon", "restart")
    assert house.ok("models", "show", "mm", "--json").last["settings"] == changed.last["settings"]
    assert house.run("ask", "hi", "-m", "old").status == 4


def test_a_changed_keep_alive_and_pin_take_effect_at_once(house: House) -> None:
    house.echo("m")
    house.ok("ask", "hi", "-m", "m")
    assert house.ok("ps", "--json").last["until"] is not None
    assert house.ok("models", "set", "m", "keep_alive=-1", "-q").err == ""
    assert house.ok("ps", "--json").last["until"] is None
    house.ok("models", "set", "m", "--unset", "keep_alive")
    assert house.ok("ps", "--json").last["until"] is not None


def test_a_change_that_cannot_be_made_is_refused_and_changes_nothing(house: House) -> None:
    house.ok("models", "add", "m", "echo", "--alias", "mm")
    house.ok("models", "add", "other", "echo")
    file = house.place / "models" / "m.json"
    before = file.read_bytes()
    for arguments, status, words in (
        (["none", "slots=2"], 4, "there is no model 'none'"),
        (["m"], 2, "nothing to change was given"),
        (["m", "slots", "2"], 2, "`llmctl models set m KEY=VALUE`"),
        (["m", "sluts=2"], 5, "slots"),
        (["m", "slots=many"], 5, "slots"),
        (["m", "retries=2"], 5, "has no setting retries"),
        (["m", "draft=x.gguf"], 5, "supports no `draft`"),
        (["m", "slots=2", "--unset", "slots"], 5, "slots is both set and unset"),
        (["m", "--unset", "contex"], 5, "context"),
        (["m", "--alias", "other"], 2, "already names the model other"),
        (["m", "--unalias", "m3"], 5, "has no alias 'm3'"),
    ):
        outcome = house.run("models", "set", *arguments)
        assert (outcome.status, outcome.out) == (status, ""), (arguments, outcome)
        assert words in outcome.err, (arguments, outcome)
    assert file.read_bytes() == before


# ---- files that exist already ---------------------------------------------------------------------------------------


def test_a_repository_in_the_hugging_face_cache_is_used_in_place(house: House, cache: Path) -> None:
    house.variables["HF_HUB_CACHE"] = str(cache)
    snapshot = cache / "models--ana--tiny" / "snapshots" / COMMIT
    for name, target in (
        ("a", "ana/tiny"),
        ("b", "ana/tiny:a-Q8_0.gguf"),
        ("c", cache / "models--ana--tiny"),
        ("d", snapshot),
    ):
        added = house.ok("models", "add", name, target, "--json").last
        assert added["target"] == str(snapshot / "a-Q8_0.gguf"), "neither copied nor the blob without a name"
    assert house.ok("ask", "hi", "-m", "a", *ONE).out
    big = house.ok("models", "add", "big", "ana/big", "--json").last
    assert Path(big["target"]).name.startswith("big-00001-of-")
    assert house.ok("ask", "hi", "-m", "big", *ONE).out == house.ok("ask", "hi", "-m", "a", *ONE).out
    bert = house.ok("models", "add", "bert", "ana/bert", "--json").last
    assert (bert["backend"], bert["target"]) == (
        "sentence-transformers", str(cache / "models--ana--bert" / "snapshots" / COMMIT)
    )  # fmt: skip
    before = sorted(cache.rglob("*"))
    for name in ("a", "big", "bert"):
        house.ok("models", "rm", name, "--yes")
    assert sorted(cache.rglob("*")) == before, "what pull did not fetch is never deleted"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("ana/none", ["no file ana/none", "`llmctl pull ana/none` downloads it"]),
        ("ana/tiny:other.gguf", ["has no file other.gguf", "a-Q8_0.gguf", "llmctl pull ana/tiny:other.gguf"]),
        ("ana/two", ["several models: a.gguf, b.gguf", "ana/two:FILE"]),
        ("ana/empty", ["contains no snapshot", "llmctl pull"]),
        ("ana/none.gguf", ["ana/none.gguf cannot be read"]),
    ],
)
def test_adding_a_repository_missing_from_the_cache_says_how_to_fetch_it(
    shared: House, cache: Path, target: str, words: list[str]
) -> None:
    outcome = shared.run("models", "add", "x", target, HF_HOME=str(cache.parent))
    assert outcome.status == 4, outcome
    assert not [word for word in words if word not in outcome.err], outcome.err


def test_a_missing_part_of_a_split_file_is_named(shared: House, tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "big.gguf", split=8)
    first, second, *_ = sorted(tmp_path.iterdir())
    outcome = shared.run("models", "add", "x", second)
    assert (outcome.status, f"Use the first part: {first}" in outcome.err) == (4, True)
    second.unlink()
    outcome = shared.run("models", "add", "x", first)
    assert (outcome.status, f"{second.name} is missing" in outcome.err) == (4, True)


def test_every_part_of_a_split_file_belongs_to_the_model_identity(house: House, tmp_path: Path) -> None:
    tiny_gguf.write(tmp_path / "big.gguf", seed=7, split=8)
    first, *_, last = sorted(tmp_path.iterdir())
    house.ok("models", "add", "m", first)
    keys = [house.ok("ask", "hi", "-m", "m", *ONE, "--json", "--no-stream").last["cache"]["key"]]
    last.write_bytes(last.read_bytes()[:-4] + b"\x01\x02\x03\x04")
    keys += [house.ok("ask", "hi", "-m", "m", *ONE, "--json", "--no-stream").last["cache"]["key"]]
    assert len(set(keys)) == 2
