"""The example configuration agrees with the structs."""

from pathlib import Path

import msgspec
import pytest
import tomli

from llmctl import config, example
from llmctl.config import Config, Duration, ModelSettings, Size, keys, sections
from llmctl.config.units import KeepAlive


def test_the_example_configuration_equals_the_defaults() -> None:
    assert config.decode(Config, tomli.loads(example.text()), "example") == Config()


def uncommented() -> str:
    lines = example.text().splitlines()
    return "\n".join(line.removeprefix("# ") if " = " in line or line.startswith("# [") else line for line in lines)


def test_every_line_of_the_example_is_valid_when_uncommented(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(uncommented())
    read = config.load(tmp_path / "c.toml", {})
    plain, taken = dict(sections(Config())), dict(sections(read))
    for name in sorted(taken.keys() - {"defaults"}):
        defaults = {key: getattr(plain[name], key) for key in keys(plain[name])}
        given = {key: getattr(taken[name], key) for key in keys(taken[name])}
        assert given | {key: value for key, value in defaults.items() if value is not None} == given
        assert None not in given.values()
    assert set(msgspec.structs.asdict(read.models["NAME"])) == set(ModelSettings.__struct_fields__)
    assert None not in msgspec.structs.asdict(read.models["NAME"]).values()
    assert None not in msgspec.structs.asdict(read.defaults).values()


@pytest.mark.parametrize(
    ("value", "text"),
    [(Duration(90), '"90s"'), (Duration(7200), '"2h"'), (Duration(0.5), '"0.5s"'), (Duration(0), '"0s"'),
     (Size(2**30), '"1G"'), (Size(1000), '"1000"'), (True, "true"), ("a", '"a"'), (["a"], '["a"]'), (None, "null")],
)  # fmt: skip
def test_values_are_written_as_toml(value: object, text: str) -> None:
    assert example.toml(value) == text


def test_a_keep_alive_is_a_number() -> None:
    """`config show` prints it, and it has two values that are no durations."""
    assert [example.toml(KeepAlive(seconds)) for seconds in (3600, 0, -1)] == ["3600.0", "0.0", "-1.0"]
