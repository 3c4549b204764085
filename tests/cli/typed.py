"""A real interactive shell in a pseudo-terminal that types keys, Tab among them, and tells which arguments `llmctl` then got.

It knows how each shell is started without the user's own settings, not what is completed. The program `llmctl` is a function that
reports its arguments.
"""

import contextlib
import os
import pty
import select
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from types import TracebackType

from tests.e2e.house import PATIENCE_S, REPOSITORY

FILES = {"bash": "llmctl.bash", "zsh": "_llmctl", "fish": "llmctl.fish"}
POSIX = """llmctl() {{ printf '%s\\0' "$@" END > '{report}'; }}
PS1='READY> '
"""
SETTINGS = {
    "bash": POSIX + "source '{script}'\n",
    "zsh": "autoload -Uz compinit\ncompinit -u -D\nzstyle ':completion:*' menu no\n" + POSIX + "source '{script}'\n",
    "fish": "function llmctl; printf '%s\\0' $argv END > '{report}'; end\n"
    "function fish_prompt; printf 'READY> '; end\nsource '{script}'\n",
}
IN_TERMINAL = ("sh", "-c", 'exec "$@" <"$0" >"$0" 2>&1')
"""The leader of a session gets the first terminal that it opens as its own, which fish needs."""
COMMANDS = {
    "bash": ["bash", "--noprofile", "--rcfile", "{settings}", "-i"],
    "zsh": ["zsh", "-i"],
    "fish": ["fish", "--no-config", "--private", "--init-command", "source '{settings}'", "-i"],
}


class Shell:
    """A running shell in `folder`. `before`: lines of its settings that come first."""

    def __init__(self, name: str, folder: Path, environ: dict[str, str], before: str = "") -> None:
        self._own = Path(tempfile.mkdtemp(prefix="lcshell", dir="/tmp"))
        report, settings = self._own / "report", self._own / ".zshrc"
        os.mkfifo(report)
        script = REPOSITORY / "completions" / FILES[name]
        settings.write_text(before + SETTINGS[name].format(report=report, script=script))
        self._reader = os.open(report, os.O_RDWR)
        self._screen, self._other = pty.openpty()
        self.shown = b""
        self._ready = threading.Event()
        self._shell = subprocess.Popen(
            [*IN_TERMINAL, os.ttyname(self._other), *(part.format(settings=settings) for part in COMMANDS[name])],
            stdin=subprocess.DEVNULL, cwd=folder, start_new_session=True,
            env=environ | {"TERM": "dumb" if name != "zsh" else "vt100", "ZDOTDIR": str(self._own)},
        )  # fmt: skip
        threading.Thread(target=self._drain, daemon=True).start()
        assert self._ready.wait(PATIENCE_S), self.shown

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            while piece := os.read(self._screen, 4096):
                self.shown += piece
                if b"READY>" in self.shown:
                    self._ready.set()

    def arguments(self, keys: str) -> list[str]:
        """The arguments that `llmctl` gets when these keys and Enter are typed."""
        os.write(self._screen, keys.encode() + b"\r")
        found = b""
        while not found.endswith(b"END\0"):
            ready, _, _ = select.select([self._reader], [], [], PATIENCE_S)
            assert ready, self.shown
            found += os.read(self._reader, 65536)
        return found.decode().split("\0")[:-2]

    def __enter__(self) -> "Shell":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._shell.send_signal(signal.SIGKILL)
        self._shell.wait()
        for handle in (self._other, self._screen, self._reader):
            os.close(handle)
        shutil.rmtree(self._own)
