"""The hub's log: JSON lines with the id of the request and none of its text, rotated, and never blocking."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from tests.hub.scene import LIMIT_S

TALK = """
import asyncio, logging, os, sys
from pathlib import Path
from llmctl.config import Logs
from llmctl.errors import Busy
from llmctld.runtime.log import log, open_log

with open_log(Path(sys.argv[1]), Logs(max_bytes=int(sys.argv[2]), files=2)):
    for number in range(int(sys.argv[3])):
        log.info("a line", number=number, text="x" * 100)
"""

SERVE = """
import asyncio, sys
from pathlib import Path
from llmctl import wire
from llmctl.config import Logs
from llmctl.errors import Busy
from llmctld.runtime.log import open_log
from tests.hub.scene import Speaker, a_server

async def main(folder):
    for error in (None, Busy("full"), RuntimeError()):
        async with a_server(folder, Speaker("SECRET answer", error=error)) as scene:
            identity = await scene.dealer.send(wire.Generate(prompt="SECRET question", system="SECRET", user="ana"))
            await scene.dealer.replies(identity)
            print(identity.hex())
            await scene.dealer.send_frames(bytes(16), wire.encode(wire.Generate(prompt="SECRET")) + b"x")
            await scene.dealer.receive()

folder = Path(sys.argv[1])
with open_log(folder, Logs()):
    asyncio.run(main(folder))
"""


def run(code: str, *arguments: object) -> list[str]:
    """The log lines of a separate process, because the log belongs to a whole process."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    root = str(Path(__file__).parents[2])
    ended = subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=LIMIT_S, cwd=root, env=os.environ
    )
    assert (ended.returncode, ended.stderr) == (0, "")
    return ended.stdout.splitlines()


def lines(file: Path) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in file.read_bytes().splitlines()]


def test_each_request_is_logged_with_id_and_outcome_and_without_its_text(tmp_path: Path) -> None:
    ids = run(SERVE, tmp_path)
    log = lines(tmp_path / "hub.log")
    requests = [line for line in log if line["event"] == "request" and line["kind"] == "Generate"]
    assert [line["request"] for line in requests] == ids
    assert [line["outcome"] for line in requests] == ["done", "busy", "internal"]
    assert all(line["user"] == "ana" and line["level"] == "info" and line["timestamp"] for line in requests)
    (bug,) = [line for line in log if "exception" in line]
    assert bug["request"] == ids[2]
    assert "RuntimeError" in bug["exception"]
    assert b"SECRET" not in (tmp_path / "hub.log").read_bytes()


def test_the_log_is_rotated_by_size(tmp_path: Path) -> None:
    run(TALK, tmp_path, 2000, 100)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hub.log", "hub.log.1", "hub.log.2"]
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())
    numbers = [line["number"] for name in ("hub.log.2", "hub.log.1", "hub.log") for line in lines(tmp_path / name)]
    assert numbers == list(range(100 - len(numbers), 100)), "the newest are kept, none is missing between"


def test_a_log_that_cannot_be_written_stops_no_request(tmp_path: Path) -> None:
    (tmp_path / "hub.log").mkdir()
    run(TALK, tmp_path, 2000, 3)


REMOVED = """
import shutil, sys
from pathlib import Path
from llmctl.config import Logs
from llmctld.runtime.log import log, open_log
from tests.e2e.house import until

folder = Path(sys.argv[1])
folder.mkdir()
with open_log(folder, Logs()):
    log.info("before")
    until(lambda: (folder / "hub.log").exists() and (folder / "hub.log").stat().st_size)
    shutil.rmtree(folder)
    log.info("after")
"""


def test_log_that_was_removed_with_its_folder_is_begun_anew(tmp_path: Path) -> None:
    run(REMOVED, tmp_path / "logs")
    lines = (tmp_path / "logs" / "hub.log").read_text().splitlines()
    assert [msgspec.json.decode(line)["event"] for line in lines] == ["after"]
