"""The paths of all files, and that no other user can read them."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from llmctl.errors import InvalidRequest, Unreachable
from llmctl.paths import SOCKET_PATH_MAX, Paths, absolute, check_way, expanded, find_paths, make_private, make_reachable


def test_all_paths_are_inside_the_home(tmp_path: Path) -> None:
    paths = find_paths({"LLMCTL_HOME": str(tmp_path)})
    places = [paths.config_file, paths.models, paths.pulled, paths.templates, paths.state, paths.cache, paths.logs, paths.history,
              paths.cache_stats, paths.measured, paths.socket, paths.lock, paths.start_lock, paths.hub_info]  # fmt: skip
    assert all(place.is_relative_to(tmp_path) for place in places)
    assert len(set(places)) == len(places)
    assert {place.parent for place in (paths.socket, paths.lock, paths.start_lock, paths.hub_info)} == {paths.run}
    assert list(tmp_path.iterdir()) == [], "finding creates nothing"


def test_different_spellings_of_a_home_give_the_same_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    wanted = find_paths({"LLMCTL_HOME": str(tmp_path / "h")})
    for written in ("h", "./h", "x/../h", f"{tmp_path}/h/", "~/h"):
        assert find_paths({"LLMCTL_HOME": written}) == wanted


def test_the_configuration_file_can_be_set_separately(tmp_path: Path) -> None:
    environ = {"LLMCTL_HOME": str(tmp_path), "LLMCTL_CONFIG": str(tmp_path / "other.toml")}
    assert find_paths(environ).config_file == tmp_path / "other.toml"
    assert find_paths(environ).run == find_paths({"LLMCTL_HOME": str(tmp_path)}).run


def test_lock_and_socket_do_not_depend_on_the_caller_s_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/run/user/1")
    shell = find_paths({})
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    assert find_paths({}) == shell


@pytest.fixture
def long_home(tmp_path: Path) -> Iterator[Paths]:
    """Paths in a folder whose path is too long for a socket, without a symlink to it before and after the test."""
    paths = find_paths({"LLMCTL_HOME": str(tmp_path / ("ä" * 60))})
    yield paths
    paths.socket.parent.unlink(missing_ok=True)


def test_a_long_home_is_reached_through_a_short_symlink(long_home: Paths) -> None:
    assert long_home.home is not None
    assert long_home.run == long_home.home / "run", "lock and socket are in the home nevertheless"
    assert len(os.fsencode(long_home.socket)) <= SOCKET_PATH_MAX
    make_private(long_home.run)
    for _ in range(2):
        make_reachable(long_home)
        assert long_home.socket.parent.samefile(long_home.run)
        long_home.socket.parent.unlink()  # as whoever cleans /tmp does it
    long_home.socket.parent.symlink_to("/")
    make_reachable(long_home)
    assert long_home.socket.parent.samefile(long_home.run), "a symlink to elsewhere is replaced"


def test_an_occupied_symlink_name_is_an_error_that_names_it(long_home: Paths) -> None:
    taken = long_home.socket.parent
    taken.mkdir()
    with pytest.raises(Unreachable, match=str(taken)):
        make_reachable(long_home)
    assert [path.name for path in taken.parent.glob(f"{taken.name}*")] == [taken.name]
    taken.rmdir()


def test_every_path_to_one_home_finds_the_same_socket(long_home: Paths, tmp_path: Path) -> None:
    make_private(long_home.run)
    (tmp_path / "short").symlink_to(long_home.run.parent)
    (tmp_path / "again").symlink_to("short")
    for other in ("short", "again", "short/../" + "ä" * 60):
        assert find_paths({"LLMCTL_HOME": str(tmp_path / other)}) == long_home


def test_the_longest_home_that_fits_needs_no_symlink() -> None:
    room = SOCKET_PATH_MAX - len("/run/hub.sock")
    fits, does_not = ("/" + "x" * (length - 1) for length in (room, room + 1))
    assert find_paths({"LLMCTL_HOME": fits}).socket == Path(fits) / "run" / "hub.sock"
    assert find_paths({"LLMCTL_HOME": does_not}).socket.is_relative_to("/tmp")
    make_reachable(find_paths({"LLMCTL_HOME": fits}))


def test_a_user_without_passwd_entry_has_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME")
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pwd.getpwuid", nobody)
    for environ in ({}, {"LLMCTL_HOME": "~/x"}):
        with pytest.raises(Unreachable, match="no home folder") as caught:
            find_paths(environ)
        assert "LLMCTL_HOME" in caught.value.hint
    assert find_paths({"LLMCTL_HOME": "/x"}).home == Path("/x")
    assert expanded("~/x") == Path("~/x")


def test_in_a_deleted_current_folder_only_absolute_paths_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert absolute("/a/../b") == Path("/b")
    assert find_paths({"LLMCTL_HOME": "/x"}).home == Path("/x")
    with pytest.raises(InvalidRequest, match="cannot find x: the current folder no longer exists"):
        absolute("x")
    with pytest.raises(InvalidRequest, match="folder no longer exists"):
        find_paths({"LLMCTL_HOME": "/x", "LLMCTL_CONFIG": "x"})
    with pytest.raises(Unreachable, match="folder no longer exists"):
        find_paths({"LLMCTL_HOME": "x"})


def test_folders_are_created_private(tmp_path: Path) -> None:
    made = make_private(tmp_path / "a" / "b")
    assert made.stat().st_mode & 0o777 == 0o700
    made.chmod(0o755)
    assert make_private(made).stat().st_mode & 0o777 == 0o700


def test_files_and_symlinks_in_place_of_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for path in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "link"):
        with pytest.raises(Unreachable, match=str(path)):
            make_private(path)


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_not_writable_is_reported(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Unreachable, match="cannot write to the folder"):
        make_private(tmp_path / "x")
    tmp_path.chmod(0o700)


# ---- the way to a folder --------------------------------------------------------------------------------------------


def test_a_folder_that_others_may_replace_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = tmp_path / "a" / "b" / "c"
    below.mkdir(parents=True)
    place = tmp_path / "a"
    check_way(below)
    check_way(below / "not" / "there" / "yet")
    for mode in (0o777, 0o757):
        place.chmod(mode)
        with pytest.raises(Unreachable, match=rf"can write to the folder {place} \(mode {mode:o}\)") as caught:
            check_way(below / "not there yet")
        assert f"chmod go-w {place}" in caught.value.hint
    place.chmod(0o1777)
    check_way(below)
    place.chmod(0o755)
    (tmp_path / "link").symlink_to(below)
    check_way(tmp_path / "link")
    if os.getuid() == 0:
        os.chown(below, 65534, 65534)  # a folder of root is trusted by everybody
    owner, me = below.stat().st_uid, os.getuid() + 1
    monkeypatch.setattr(os, "getuid", lambda: me)
    with pytest.raises(Unreachable, match=f"{below} belongs to user {owner}, and this is user {me}"):
        check_way(below)


@pytest.mark.parametrize(
    ("group", "members", "private"),
    [("ana", [], True), ("ana", ["ana"], True), ("ana", ["ana", "bob"], False), ("users", [], False)],
)
def test_a_group_of_its_own_may_write(
    group: str, members: list[str], private: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a umask of 002 every folder of a user is like that."""
    monkeypatch.setattr("pwd.getpwuid", lambda uid: SimpleNamespace(pw_name="ana"))
    monkeypatch.setattr("grp.getgrgid", lambda gid: SimpleNamespace(gr_name=group, gr_mem=members))
    tmp_path.chmod(0o775)
    if private:
        check_way(tmp_path)
    else:
        with pytest.raises(Unreachable, match="can write to the folder"):
            check_way(tmp_path)
