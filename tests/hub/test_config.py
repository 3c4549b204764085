"""Settings: defaults, then the file, then the environment; errors name the key and where it is set."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmctl.config import Config, Duration, Size, load, parse_duration, parse_size
from llmctl.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("15m", 900), ("2h", 7200), ("7d", 604800), ("1w", 604800), ("250ms", 0.25), ("5", 5), (" 1.5 m ", 90), (0, 0)],
)  # fmt: skip
def test_durations_are_parsed(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "count"),
    [("512M", 512 * 2**20), ("4G", 4 * 2**30), ("4GiB", 4 * 2**30), ("4gb", 4 * 2**30), ("1.5K", 1536), ("7", 7), (7, 7)],
)  # fmt: skip
def test_sizes_are_parsed(text: str | int, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "x", "-1", "1 2", "1y", "1e3", "nan", "inf", "m", "5 minutes", "0x10"])
def test_invalid_durations_and_sizes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)
    with pytest.raises(ValueError, match="is not a size"):
        parse_size(text)


@given(st.text(max_size=8))
def test_any_text_parses_or_raises_value_error(text: str) -> None:
    for parse in (parse_duration, parse_size):
        try:
            assert parse(text) >= 0
        except ValueError as error:
            assert repr(text) in str(error)  # noqa: PT017


def settings(folder: Path, text: str, environ: dict[str, str] | None = None) -> Config:
    (folder / "config.toml").write_text(text, encoding="utf-8")
    return load(folder / "config.toml", environ or {})


def test_defaults_apply_without_a_file(tmp_path: Path) -> None:
    assert load(tmp_path / "none.toml", {}) == Config()


def test_environment_overrides_the_file_and_the_file_overrides_defaults(tmp_path: Path) -> None:
    text = '[cache]\nttl = "7d"\nmemory_bytes = "1M"\n[models.qwen]\ncontext = 100\n[defaults]\ntemperature = 0'
    environ = {
        "LLMCTL_CACHE__TTL": "2h", "LLMCTL_CACHE__SCOPE": '["user", "tags"]', "LLMCTL_MODELS__QWEN__SLOTS": "2",
        "LLMCTL_CACHE__ENABLED": "false", "LLMCTL_HOME": "/somewhere", "OTHER__X": "1",
    }  # fmt: skip
    config = settings(tmp_path, text, environ)
    assert config.cache.ttl == Duration(7200)
    assert [config.cache.memory_bytes, config.cache.disk_bytes] == [Size(2**20), Size(4 * 2**30)]
    assert config.cache.scope == ["user", "tags"]
    assert config.cache.enabled is False
    assert (config.models["qwen"].context, config.models["qwen"].slots) == (100, 2)
    assert config.defaults.temperature == 0


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[cache]\ntll = 1", "cache.tll"),
        ("[cash]\nttl = 1", "cash"),
        ('[cache]\nttl = "soon"', "cache.ttl"),
        ("[cache]\nttl = -1", "cache.ttl"),
        ("[limits]\nqueue = 1.5", "limits.queue"),
        ("[limits]\nqueue = -1", "limits.queue"),
        ("[models.qwen]\ncontxt = 5", "contxt"),
        ("[models.qwen]\ncontext = 0", "context"),
        ('[models.qwen]\ndevice = "gpu"', "models.qwen.device: no such device; possible: auto, cpu"),
        ('[models.qwen]\ndevice = "cpu:1"', "models.qwen.device"),
        ('[models.qwen]\ndevice = "cuda:"', "models.qwen.device"),
        ("[models.qwen]\ntensor_split = [1, -1]", "models.qwen.tensor_split"),
        ("[models.qwen]\ntensor_split = [0, 0]", "tensor_split must have at least one share above 0"),
        ("[limits]\nmemory_bytes = -1", "limits.memory_bytes"),
        ('[logs]\nlevel = "loud"', "logs.level"),
        ("[defaults]\ntemperature = nan", "defaults.temperature"),
        ("cache = 5", "cache"),
        ("[cache", "config.toml"),
        ("a = 1\na = 2", "config.toml"),
    ],
)
def test_errors_in_the_file_name_the_key(tmp_path: Path, text: str, key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(tmp_path, text)
    assert key in caught.value.message
    assert "config.toml" in caught.value.message


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("LLMCTL_CACHE__TLL", "1"), ("LLMCTL_CACHE__TTL", "soon"), ("LLMCTL_LIMITS__QUEUE", "many"),
        ("LLMCTL_CACHE__SCOPE", "[user]"), ("LLMCTL_CACHE__SCOPE", "user"), ("LLMCTL_CACHE__SCOPE", "[1]"),
        ("LLMCTL_X__", "1"), ("LLMCTL_CACHE__TTL__X", "1"),
    ],
)  # fmt: skip
def test_errors_in_the_environment_name_the_variable(tmp_path: Path, variable: str, value: str) -> None:
    with pytest.raises(ConfigError, match=variable):
        load(tmp_path / "none.toml", {variable: value})


def test_unknown_key_error_suggests_the_nearest_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="memory_bytes"):
        settings(tmp_path, "[cache]\nmemory_byte = 1")


def test_unreadable_file_is_named_in_the_error(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_bytes(b"\xff")
    for path in (tmp_path / "config.toml", tmp_path):
        with pytest.raises(ConfigError, match=str(path)):
            load(path, {})


def test_fingerprint_depends_on_hub_settings_and_not_on_client_settings(tmp_path: Path) -> None:
    base = Config().fingerprint()
    assert settings(tmp_path, "[defaults]\nmax_tokens = 5").fingerprint() == base
    assert settings(tmp_path, "").fingerprint() == base
    others = [
        settings(tmp_path, text).fingerprint()
        for text in ("[cache]\nttl = 5", "[limits]\nqueue = 5", "[models.a]\nslots = 1", "[models.b]\nslots = 1")
    ]
    assert len({base, *others}) == 5


def test_durations_and_sizes_keep_their_types() -> None:
    config = Config()
    assert isinstance(config.resources.max_wait, Duration)
    assert isinstance(config.cache.disk_bytes, Size)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[limits]\nqueue = "x"', 'limits.queue is "x"; it must be a whole number'),
        ("[models.m]\ncontext = 0", "models.m.context is 0; it must be a whole number of 1 or more"),
        ('[models.m]\ntags = "a"', 'models.m.tags is "a"; it must be a list'),
        ("[models]\nm = 3", "models.m is 3; it must be a section [models.m] with settings"),
        ("[models]\nsearch = 3", "models.search: "),
    ],
)
def test_a_wrong_value_is_shown_with_what_it_must_be(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "config.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert caught.value.message.startswith(words)
    assert caught.value.message.endswith(f"(in {file})")
