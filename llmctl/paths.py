"""The paths of all files and folders. It reads no file; it creates folders and makes them private.

`LLMCTL_HOME=DIR` moves everything into DIR. Without it, the platform's own folders hold configuration, data, state and cache.
Lock and socket are in one folder beside the state. Not in XDG_RUNTIME_DIR: cron has none, and it is wiped at logout. Not in
/tmp: a state reached over two paths would have two locks.
"""

import os
import shlex
import stat
from pathlib import Path

import msgspec

from llmctl.errors import InvalidRequest, Unreachable

LOCK = "hub.lock"
SOCKET_PATH_MAX = 100
"""ZeroMQ refuses ipc paths over 107 bytes."""
ELSEWHERE = "Set LLMCTL_HOME to a folder of your own, below folders that belong to you or root."


class Paths(msgspec.Struct, frozen=True):
    """The paths for one user and LLMCTL_HOME. `run` holds the lock, the socket and the hub's own file."""

    home: Path | None
    config_file: Path
    models: Path
    pulled: Path
    """Downloaded model files: OWNER/NAME/FILE."""
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
        """`cache audit` as the last hub left it."""
        return self.state / "cache-audit.json"

    @property
    def cache_stats(self) -> Path:
        """`cache stats` as the last hub left it."""
        return self.state / "cache-stats.json"

    @property
    def measured(self) -> Path:
        """Memory that each model used when it was last loaded."""
        return self.state / "measured.json"

    @property
    def guide_told(self) -> Path:
        """Its date is that of the built-in guide's last introduction."""
        return self.state / "guide-told"

    @property
    def rungs(self) -> Path:
        """The parts of llama.cpp that crash on this machine, as found by engines."""
        return self.state / "rungs.json"

    @property
    def bandwidth(self) -> Path:
        """The measured memory bandwidth (suggestions.Bandwidth as JSON)."""
        return self.state / "bandwidth.json"

    @property
    def named_files(self) -> Path:
        """The files that templates and rows have read, with a notice, as JSON: who -> paths."""
        return self.state / "named-files.json"

    @property
    def ledger(self) -> Path:
        return self.state / "ledger.db"

    @property
    def budgets(self) -> Path:
        """Every budget that was set, as JSON."""
        return self.state / "budgets.json"

    @property
    def hashes(self) -> Path:
        """SHA-256 of model files (hashes.Hashes as JSON)."""
        return self.state / "hashes.json"

    @property
    def socket(self) -> Path:
        """In `run`; if that path is too long for a socket, the path over a short link (`make_reachable`)."""
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
        """Held by the client that is starting a hub; other clients wait for it."""
        return self.run / "start.lock"

    @property
    def hub_spare(self) -> Path:
        """The last hub's file, kept for its place on the disk: the next hub can write into it when the disk is full."""
        return self.run / "hub.spare"

    @property
    def hub_info(self) -> Path:
        """wire.HubInfo as JSON, written once the hub is ready."""
        return self.run / "hub.json"


def find_paths(environ: "os._Environ[str] | dict[str, str]" = os.environ) -> Paths:
    """The paths for this environment; creates nothing. Links are resolved, so that a folder has one path."""
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
        name.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(name).decode("utf-8", "backslashreplace")
        raise Unreachable(
            f"the path of {what} is not UTF-8: {shown}", "Choose a folder whose path is valid UTF-8."
        ) from error
    try:
        return Path(os.path.realpath(at_home(name)))
    except FileNotFoundError as error:
        raise Unreachable(
            "the current folder no longer exists", f"Change to another folder, or set {what} to a full path."
        ) from error


def at_home(name: str) -> Path:
    """`expanded`, but raises Unreachable for an unknown home folder, which would become a folder named `~`."""
    folder = expanded(name)
    if folder.parts[:1] and folder.parts[0].startswith("~"):
        raise _homeless()
    return folder


def _homeless() -> Unreachable:
    message = f"user {os.getuid()} has no home folder: HOME is not set, and the system has no entry for the user"
    return Unreachable(message, "Set LLMCTL_HOME to a folder of your own, as a full path.")


def expanded(name: str) -> Path:
    """The path with a leading `~` replaced by the home folder, if that is known."""
    return Path(os.path.expanduser(name))


def absolute(name: str) -> Path:
    """The full path of a name. Raises InvalidRequest for a relative one in a folder that no longer exists."""
    try:
        return Path(os.path.abspath(expanded(name)))
    except FileNotFoundError as error:
        message = f"cannot find {name}: the current folder no longer exists"
        raise InvalidRequest(message, "Change to another folder, or give the full path.") from error


def make_reachable(paths: Paths) -> None:
    """Creates the short link to the socket's folder, if the socket's path is too long and the link is missing.

    Raises Unreachable if somebody else owns a file of that name, or may replace the link.
    """
    link = paths.socket.parent
    if link == paths.run:
        return
    check_way(link.parent)
    if _leads(link, paths.run):
        return
    made = link.with_name(f"{link.name}.{os.getpid()}")
    try:
        made.unlink(missing_ok=True)
        made.symlink_to(paths.run)
        made.replace(link)
    except OSError as error:
        made.unlink(missing_ok=True)
        hint = f"The path of {paths.run} is too long for a socket: remove {link}, or set LLMCTL_HOME to a shorter path."
        raise Unreachable(f"cannot create the link {link}: {error.strerror}{_owner(link)}", hint) from error


def _leads(link: Path, folder: Path) -> bool:
    try:
        return link.lstat().st_uid == os.getuid() and os.readlink(link) == str(folder)
    except OSError:
        return False


def _owner(place: Path) -> str:
    """Words about a file that belongs to another user."""
    try:
        uid = place.lstat().st_uid
    except OSError:
        return ""
    return "" if uid == os.getuid() else f" (it belongs to user {uid}, and this is user {os.getuid()})"


def check_way(folder: Path) -> None:
    """Raises Unreachable if another user could put a folder of theirs in the place of `folder`.

    The rule of sshd's StrictModes: every folder on the way belongs to this user or to root, and nobody else may write into it,
    unless it is sticky like /tmp, where a name belongs to its owner. A folder that does not exist yet is skipped.
    """
    folder = Path(os.path.realpath(folder))
    for place in (folder, *folder.parents):
        try:
            found = place.lstat()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise Unreachable(f"cannot examine the folder {place}: {error.strerror}", ELSEWHERE) from error
        if found.st_uid not in (0, os.getuid()):
            message = f"the folder {place} belongs to user {found.st_uid}, and this is user {os.getuid()}"
            raise Unreachable(f"{message}: its owner could put another hub in place of yours", ELSEWHERE)
        if found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX and not _only_own_group(found):
            message = f"users other than {os.getuid()} can write to the folder {place} (mode {found.st_mode & 0o777:o})"
            raise Unreachable(message, f"`chmod go-w {shlex.quote(str(place))}`, or set LLMCTL_HOME to another folder.")


def _only_own_group(found: os.stat_result) -> bool:
    """Whether only the group may write, and that is this user's own, as most distributions make one for each user."""
    import grp
    import pwd

    if found.st_mode & 0o002:
        return False
    try:
        name, group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(found.st_gid)
    except KeyError:
        return False
    return group.gr_name == name and set(group.gr_mem) <= {name}


def make_private(folder: Path) -> Path:
    """Creates `folder` with mode 0700, or checks that it belongs to this user and makes it private.

    Raises Unreachable if it cannot be written or belongs to somebody else.
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
            f"cannot write to the folder {folder}: {error.strerror}",
            "Correct its permissions, or set LLMCTL_HOME to a folder of your own.",
        ) from error
    return folder


def os_user() -> str:
    """The name of the user who runs this process, or its number where it has none."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
