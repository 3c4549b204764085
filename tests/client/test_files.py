"""Writing a file whole."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from llmctl.files import open_own, write_whole
from tests.attack.torn import without_override

OPEN = """
import os
from pathlib import Path
from llmctl.files import open_own
os.write(open_own(Path({path!r}), os.O_RDWR), b"x")
"""


def test_file_and_folder_reach_the_disk_before_the_call_returns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    sync = os.fsync

    def noted(descriptor: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{descriptor}") if Path("/proc/self/fd").is_dir() else "")
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", noted)
    write_whole(tmp_path / "a", b"one", b"two", sync=True)
    assert (tmp_path / "a").read_bytes() == b"onetwo"
    assert len(synced) == 2
    assert synced[1] in ("", str(tmp_path)), "the folder, after its file has the name"
    write_whole(tmp_path / "a", b"three")
    assert len(synced) == 2


def test_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "a"
    file.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            write_whole(file, b"new" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert file.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_left_over_of_a_killed_process_is_removed_also_when_the_clock_was_set_back_since(tmp_path: Path) -> None:
    left, recent = tmp_path / "a.new-left", tmp_path / "a.new-recent"
    for each in (left, recent):
        each.write_text("half")
    future = time.time() + 20 * 365 * 86_400.0
    os.utime(left, (future, future))
    write_whole(tmp_path / "a", b"whole")
    assert sorted(os.listdir(tmp_path)) == ["a", "a.new-recent"]


@pytest.mark.parametrize(
    "spoil", [lambda path: path.mkdir(), lambda path: path.symlink_to(path.name), lambda path: None]
)
def test_a_lock_or_log_of_ours_can_always_be_opened(spoil: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "hub.lock"
    spoil(path)
    descriptor = open_own(path, os.O_RDWR)
    os.write(descriptor, b"x")
    os.close(descriptor)
    assert path.read_text() == "x"


def test_a_mode_that_forbids_to_open_a_log_is_corrected(tmp_path: Path) -> None:
    """In a process that modes stop, even as root."""
    path = tmp_path / "hub.err"
    path.write_text("earlier")
    path.chmod(0)
    program = OPEN.format(path=str(path))
    done = subprocess.run([sys.executable, "-c", program], preexec_fn=without_override, check=False)
    assert done.returncode == 0
    assert path.read_text() == "xarlier"
