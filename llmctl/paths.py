"""Where everything lives, and nothing else: no file is read here, and folders are made private before they are used.

`LLMCTL_HOME=DIR` moves all of it into DIR. Without it the platform's own folders hold configuration, data, state
and cache. Lock and socket lie together in one folder beside the state, never in XDG_RUNTIME_DIR: cron has none,
and it is wiped at logout; nor in /tmp, where one state that is reached by two paths would have two locks.
"""

import os
import stat
from pathlib import Path

import msgspec

from llmctl.errors import InvalidRequest, Unreachable

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
        """Always in `run`; named over a short link where its path is too long for a socket's (`make_reachable`)."""
        wanted = self.run / "hub.sock"
        if len(os.fsencode(wanted)) <= SOCKET_PATH_MAX:
            return wanted
        from hashlib import sha256

        return Path("/tmp") / f"llmctl-{os.getuid()}-{sha256(os.fsencode(self.run)).hexdigest()[:12]}" / "hub.sock"

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
    """The places for this environment; creates nothing. However a folder is reached, over whatever links, it is one place."""
    named = environ.get("LLMCTL_HOME")
    if named:
        home = _real(named, "LLMCTL_HOME")
        config, data, state, cache = home, home, home / "state", home / "cache"
    else:
        home = None
        config, data, state, cache = _of_the_platform()
    config_file = environ.get("LLMCTL_CONFIG")
    return Paths(
        home=home,
        config_file=absolute(config_file) if config_file else config / "config.toml",
        models=data / "models",
        pulled=data / "pulled",
        templates=config / "templates",
        state=state,
        cache=cache,
        run=home / "run" if home else state / "run",
    )


def _of_the_platform() -> tuple[Path, Path, Path, Path]:
    """The folders of configuration, data, state and cache."""
    import platformdirs  # 3 ms, and not needed with LLMCTL_HOME

    try:
        config = at_home(platformdirs.user_config_dir("llmctl", appauthor=False))
        data = at_home(platformdirs.user_data_dir("llmctl", appauthor=False))
        state = _real(platformdirs.user_state_dir("llmctl", appauthor=False), "the state folder")
        return config, data, state, at_home(platformdirs.user_cache_dir("llmctl", appauthor=False))
    except RuntimeError as error:  # of a newer platformdirs
        raise _homeless() from error


def _real(name: str, what: str) -> Path:
    try:
        return Path(os.path.realpath(at_home(name)))
    except FileNotFoundError as error:
        raise Unreachable(
            "the current folder is gone", f"Change to one that exists, or set {what} to a full path."
        ) from error


def at_home(name: str) -> Path:
    """`expanded`. Raises Unreachable where a home folder is meant that nobody knows: it would become a folder of the name `~`."""
    folder = expanded(name)
    if folder.parts[:1] and folder.parts[0].startswith("~"):
        raise _homeless()
    return folder


def _homeless() -> Unreachable:
    message = f"user {os.getuid()} has no home folder: HOME is not set, and the system does not know the user"
    return Unreachable(message, "Set LLMCTL_HOME to a folder of your own, as a full path.")


def expanded(name: str) -> Path:
    """A path with `~` in front written out, where a home folder is known."""
    return Path(os.path.expanduser(name))


def absolute(name: str) -> Path:
    """The full path of what a user named. Raises InvalidRequest where it is relative to a folder that is gone."""
    try:
        return Path(os.path.abspath(expanded(name)))
    except FileNotFoundError as error:
        message = f"{name} cannot be found: the current folder is gone"
        raise InvalidRequest(message, "Change to a folder that exists, or name the full path.") from error


def make_reachable(paths: Paths) -> None:
    """Where the path of the socket is too long for one, a short link leads to its folder: made anew when it went from /tmp.

    Raises Unreachable when somebody else has taken its name.
    """
    link = paths.socket.parent
    if link == paths.run or _leads(link, paths.run):
        return
    made = link.with_name(f"{link.name}.{os.getpid()}")
    try:
        made.unlink(missing_ok=True)
        made.symlink_to(paths.run)
        made.replace(link)
    except OSError as error:
        made.unlink(missing_ok=True)
        hint = f"The path of {paths.run} is too long for a socket: remove {link}, or set LLMCTL_HOME to a shorter path."
        raise Unreachable(f"the link {link} cannot be made: {error.strerror}", hint) from error


def _leads(link: Path, folder: Path) -> bool:
    try:
        return link.lstat().st_uid == os.getuid() and os.readlink(link) == str(folder)
    except OSError:
        return False


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
