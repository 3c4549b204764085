"""Where everything lives, and nothing else: no file is read here, and folders are made private before they are used.

`LLMCTL_HOME=DIR` moves all of it into DIR. Without it the platform's own folders hold configuration, data, state
and cache. Lock and socket lie together in one folder beside the state, never in XDG_RUNTIME_DIR: cron has none,
and it is wiped at logout.
"""

import os
import stat
from pathlib import Path

import msgspec

from llmctl.errors import Unreachable

LOCK = "hub.lock"
SOCKET_PATH_MAX = 100
"""ZeroMQ refuses ipc paths over 107 bytes."""


class Paths(msgspec.Struct, frozen=True):
    """The folders of one user and LLMCTL_HOME. `run` holds the lock, the socket and what the hub says about itself."""

    home: Path | None
    config_file: Path
    models: Path
    pulled: Path
    """Files of models that `models pull` fetched: OWNER/NAME/FILE."""
    templates: Path
    state: Path
    cache: Path
    run: Path

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def history(self) -> Path:
        return self.state / "history.db"

    @property
    def cache_audit(self) -> Path:
        """What the last hub knew of its semantic hits."""
        return self.state / "cache-audit.json"

    @property
    def cache_stats(self) -> Path:
        """The figures that the last hub left behind."""
        return self.state / "cache-stats.json"

    @property
    def measured(self) -> Path:
        """What each model took in memory when it was last loaded."""
        return self.state / "measured.json"

    @property
    def rungs(self) -> Path:
        """What of llama.cpp crashes here, as engines found out that died of it."""
        return self.state / "rungs.json"

    @property
    def hashes(self) -> Path:
        """Full hashes of models' files (hashes.Hashes as JSON)."""
        return self.state / "hashes.json"

    @property
    def socket(self) -> Path:
        return self.run / "hub.sock"

    @property
    def lock(self) -> Path:
        """Held by the hub from before it binds until after it closed everything."""
        return self.run / LOCK

    @property
    def start_lock(self) -> Path:
        """Held by the client that is starting a hub, so that others wait for that one."""
        return self.run / "start.lock"

    @property
    def hub_info(self) -> Path:
        """wire.HubInfo as JSON, written once the hub is ready."""
        return self.run / "hub.json"


def find_paths(environ: "os._Environ[str] | dict[str, str]" = os.environ) -> Paths:
    """The places for this environment; creates nothing."""
    named = environ.get("LLMCTL_HOME")
    if named:
        try:
            home = Path(os.path.abspath(os.path.expanduser(named)))
        except FileNotFoundError as error:
            raise Unreachable(
                "the current folder is gone", "Change to one that exists, or set LLMCTL_HOME to a full path."
            ) from error
        config, data, state, cache = home, home, home / "state", home / "cache"
    else:
        import platformdirs  # 3 ms, and not needed with LLMCTL_HOME

        home = None
        config = Path(platformdirs.user_config_dir("llmctl", appauthor=False))
        data = Path(platformdirs.user_data_dir("llmctl", appauthor=False))
        state = Path(platformdirs.user_state_dir("llmctl", appauthor=False))
        cache = Path(platformdirs.user_cache_dir("llmctl", appauthor=False))
    config_file = environ.get("LLMCTL_CONFIG")
    return Paths(
        home=home,
        config_file=Path(config_file).expanduser().absolute() if config_file else config / "config.toml",
        models=data / "models",
        pulled=data / "pulled",
        templates=config / "templates",
        state=state,
        cache=cache,
        run=_run_folder(home / "run" if home else state / "run"),
    )


def _run_folder(wanted: Path) -> Path:
    if len(os.fsencode(wanted / "hub.sock")) <= SOCKET_PATH_MAX:
        return wanted
    from hashlib import sha256

    return Path("/tmp") / f"llmctl-{os.getuid()}-{sha256(os.fsencode(wanted)).hexdigest()[:12]}"


def make_private(folder: Path) -> Path:
    """Creates `folder` with mode 0700, or checks that it is a folder of ours and makes it private.

    Raises Unreachable when it cannot be written, or belongs to somebody else.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
        if found.st_uid != os.getuid() or not stat.S_ISDIR(found.st_mode):
            raise Unreachable(
                f"{folder} is not a folder of user {os.getuid()} (owner {found.st_uid})",
                "Remove it, or set LLMCTL_HOME to a folder of your own.",
            )
        if found.st_mode & 0o077:
            folder.chmod(0o700)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(13, "Permission denied")
    except OSError as error:
        raise Unreachable(
            f"the folder {folder} cannot be written: {error.strerror}",
            "Correct its permissions, or set LLMCTL_HOME to a folder of your own.",
        ) from error
    return folder
