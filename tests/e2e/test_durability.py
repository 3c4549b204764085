"""What a full disk, a killed process or a power cut leaves of the files that commands write."""

import os
import subprocess
import time
from pathlib import Path

from tests.e2e.house import LLMCTL, House, Outcome
from tests.e2e.test_bad_input import refused


def no_room(house: House, *arguments: str) -> Outcome:
    """The command where no file may grow: what a full disk does, without one."""
    line = ["bash", "-c", 'ulimit -f 0; exec "$@"', "bash", str(LLMCTL), *arguments]
    done = subprocess.run(line, capture_output=True, env=house.environ(), cwd=house.home, check=False, text=True)
    return Outcome(done.returncode, done.stdout, done.stderr)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def test_a_full_disk_leaves_the_old_configuration_as_it_was(house: House) -> None:
    house.ok("config", "init")
    file = house.place / "config.toml"
    file.write_text("[logs]\nfiles = 3\n")
    before = names(house.place)
    refused(no_room(house, "config", "init", "--force"), 14, f"cannot write {file}: File too large", "ulimit -f")
    assert file.read_text() == "[logs]\nfiles = 3\n"
    assert names(house.place) == before


def test_a_configuration_that_cannot_be_written_leaves_no_empty_file(house: House) -> None:
    refused(no_room(house, "config", "init"), 14, "config.toml")
    assert names(house.place) == []
    house.ok("config", "init")


def test_a_full_disk_leaves_the_old_template_as_it_was(house: House) -> None:
    house.ok("ask", "old words", "--save", "t")
    refused(no_room(house, "ask", "new words", "--save", "t"), 14, "t.yaml")
    assert "old words" in house.ok("templates", "show", "t").out
    assert names(house.place / "templates") == ["t.yaml"]


def test_a_link_to_the_configuration_stays_a_link(house: House) -> None:
    """People keep the file in a folder of dotfiles."""
    real = house.home / "dotfiles.toml"
    real.write_text("# mine\n")
    house.place.mkdir(mode=0o700)
    (house.place / "config.toml").symlink_to(real)
    house.ok("config", "init", "--force")
    assert (house.place / "config.toml").is_symlink()
    assert "[logs]" in real.read_text()
    assert real.stat().st_mode & 0o777 == 0o600


def test_what_a_killed_command_left_is_removed_by_the_next(house: House) -> None:
    house.ok("config", "init")
    old, recent = house.place / "config.toml.new-old", house.place / "config.toml.new-recent"
    for left in (old, recent):
        left.write_text("half")
    yesterday = time.time() - 86_400
    os.utime(old, (yesterday, yesterday))
    house.ok("config", "init", "--force")
    assert not old.exists()
    assert recent.exists(), "another command may be writing it"


def test_the_history_may_wait_for_the_disk(house: House) -> None:
    house.echo()
    house.ok("ask", "one")
    house.stop()
    house.variables["LLMCTL_HISTORY__DURABILITY"] = "full"
    house.ok("ask", "two")
    refused(house.run("ps", LLMCTL_HISTORY__DURABILITY="always"), 2, "history.durability", "normal", "full")
