"""Where everything lives, and that nobody else can look into it."""

import os
from pathlib import Path

import pytest

from llmctl.errors import Unreachable
from llmctl.paths import SOCKET_PATH_MAX, find_paths, make_private


def test_a_home_holds_everything(tmp_path: Path) -> None:
    paths = find_paths({"LLMCTL_HOME": str(tmp_path)})
    places = [paths.config_file, paths.models, paths.pulled, paths.templates, paths.state, paths.cache, paths.logs, paths.history,
              paths.cache_stats, paths.measured, paths.socket, paths.lock, paths.start_lock, paths.hub_info]  # fmt: skip
    assert all(place.is_relative_to(tmp_path) for place in places)
    assert len(set(places)) == len(places)
    assert {place.parent for place in (paths.socket, paths.lock, paths.start_lock, paths.hub_info)} == {paths.run}
    assert list(tmp_path.iterdir()) == [], "finding creates nothing"


def test_a_home_is_one_place_however_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    wanted = find_paths({"LLMCTL_HOME": str(tmp_path / "h")})
    for written in ("h", "./h", "x/../h", f"{tmp_path}/h/", "~/h"):
        assert find_paths({"LLMCTL_HOME": written}) == wanted


def test_a_configuration_can_be_named_apart(tmp_path: Path) -> None:
    environ = {"LLMCTL_HOME": str(tmp_path), "LLMCTL_CONFIG": str(tmp_path / "other.toml")}
    assert find_paths(environ).config_file == tmp_path / "other.toml"
    assert find_paths(environ).run == find_paths({"LLMCTL_HOME": str(tmp_path)}).run


def test_lock_and_socket_do_not_depend_on_the_callers_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    shell = find_paths({})
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert find_paths({}) == shell


@pytest.mark.parametrize("letter", ["x", "ä"])
def test_a_long_home_has_its_socket_in_a_short_folder_of_its_own(letter: str) -> None:
    long, longer = f"/tmp/{letter * 90}", f"/tmp/{letter * 91}"
    runs = {find_paths({"LLMCTL_HOME": home}).run for home in (long, longer)}
    assert len(runs) == 2
    for home in (long, longer):
        paths = find_paths({"LLMCTL_HOME": home})
        assert len(os.fsencode(paths.socket)) <= SOCKET_PATH_MAX
        assert paths.run == find_paths({"LLMCTL_HOME": home}).run
        assert paths.state.is_relative_to(home)


def test_the_border_of_a_long_home() -> None:
    room = SOCKET_PATH_MAX - len("/run/hub.sock")
    fits, does_not = ("/" + "x" * (length - 1) for length in (room, room + 1))
    assert find_paths({"LLMCTL_HOME": fits}).run == Path(fits) / "run"
    assert not find_paths({"LLMCTL_HOME": does_not}).run.is_relative_to(does_not)


def test_folders_are_made_private(tmp_path: Path) -> None:
    made = make_private(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o755)
    assert make_private(made).stat().st_mode & 0o777 == 0o700


def test_what_is_no_folder_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for path in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "link"):
        with pytest.raises(Unreachable, match=str(path)):
            make_private(path)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Unreachable, match="cannot be written"):
        make_private(tmp_path / "x")
    tmp_path.chmod(0o700)
