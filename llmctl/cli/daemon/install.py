"""`daemon install`: a systemd or launchd unit that starts the hub at login.

It writes one file and runs no command.
"""

import os
import sys
from pathlib import Path

from llmctl.cli.console import out
from llmctl.errors import Storage
from llmctl.files import write_whole
from llmctl.interpreter import module
from llmctl.paths import at_home, find_paths

SYSTEMD = """[Unit]
Description=llmctl: the hub that keeps language models loaded

[Service]
ExecStart={command}
{environment}Restart=on-failure
RestartSec=2

[Install]
WantedBy=default.target
"""

LAUNCHD = """<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<plist version="1.0">
<dict>
  <key>Label</key><string>llmctl.hub</string>
  <key>ProgramArguments</key><array>{arguments}</array>
{environment}  <key>RunAtLoad</key><true/>
  <key>KeepAlive</key><dict><key>SuccessfulExit</key><false/></dict>
</dict>
</plist>
"""


def systemd(home: str | None) -> str:
    """The text of the unit; `home` is LLMCTL_HOME if that is set."""
    environment = f'Environment="LLMCTL_HOME={_escaped(home)}"\n' if home else ""
    return SYSTEMD.format(
        command=" ".join(f'"{_escaped(word)}"' for word in module("llmctld")), environment=environment
    )


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")


def launchd(home: str | None) -> str:
    from xml.sax.saxutils import escape

    arguments = "".join(f"<string>{escape(part)}</string>" for part in module("llmctld"))
    variables = f"<dict><key>LLMCTL_HOME</key><string>{escape(home or '')}</string></dict>"
    environment = f"  <key>EnvironmentVariables</key>{variables}\n" if home else ""
    return LAUNCHD.format(arguments=arguments, environment=environment)


def install(print_only: bool) -> None:
    named = find_paths().home
    home = str(named) if named else None
    if sys.platform == "darwin":
        file, text = at_home("~/Library/LaunchAgents/llmctl.hub.plist"), launchd(home)
        commands = [f"launchctl bootstrap gui/{os.getuid()} {file}"]
    else:
        folder = at_home(os.environ.get("XDG_CONFIG_HOME") or "~/.config")
        file, text = folder / "systemd/user/llmctld.service", systemd(home)
        commands = ["systemctl --user daemon-reload", "systemctl --user enable --now llmctld", "loginctl enable-linger"]
    if not print_only:
        _write(file, text)
    _tell(file, text, commands, print_only)


def _write(file: Path, text: str) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, text.encode())
    except OSError as error:
        raise Storage.unwritten(file, error) from error


def _tell(file: Path, text: str, commands: list[str], print_only: bool) -> None:
    if out.Mode.json:
        out.json_line({"file": str(file), "written": not print_only, "text": text, "commands": commands})
    elif print_only:
        out.text(text)
    else:
        out.notice(f"wrote {file}; these commands enable it:")
        for command in commands:
            out.line(command)
