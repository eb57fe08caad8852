"""How does one PostgreSQL of our own start and stop?

Listens on no port unless told to, and is reached through a socket that its owner alone may open.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from railhead.devserver import file_lock
from railhead.devserver.binaries import binary, failure
from railhead.devserver.run_as import ENVIRONMENT, RunAs, choose
from railhead.dsn import Dsn

if TYPE_CHECKING:
    from io import BufferedWriter
    from subprocess import CompletedProcess, Popen


DATABASE = "railhead"

_START_WITHIN = 60.0
_STOP_WITHIN = 10.0

_INITDB = (
    *("--username", "postgres", "--auth-local", "trust", "--auth-host", "scram-sha-256"),
    *("--encoding", "UTF8", "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
    *("--set", "timezone=UTC", "--set", "log_timezone=UTC"),
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
        self._guise: RunAs | None = None
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
        return file_lock.is_held(self._beside("lock")) or (self._process is not None and self._process.poll() is None)

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
            raise failure(self.data.parent, self._last_words())

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
            env=ENVIRONMENT,
            preexec_fn=self._disguise().put_on,  # it calls the kernel and nothing else
            check=False,
        )
        if result.returncode:
            raise failure(self.data.parent, f"{program}: {(result.stderr or result.stdout).strip()}")
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
        lock = file_lock.opened(self._beside("lock"))
        try:
            if not _until(lambda: file_lock.taken(lock, file_lock.ALONE), _START_WITHIN):
                raise failure(self.data.parent, "processes of an earlier server do not end")
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
                    env=ENVIRONMENT,
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

    def _disguise(self) -> RunAs:
        if self._guise is None:
            self._guise = choose(self.data if self.data.exists() else self.data.parent)
        return self._guise

    def _last_words(self) -> str:
        lines = self._beside("log").read_text(errors="replace").splitlines() if self._beside("log").exists() else []
        return "\n".join(lines[-8:]) or "it said nothing"

    def _beside(self, suffix: str) -> Path:
        return self.data.with_name(f"{self.data.name}.{suffix}")


def _written_anew(path: Path) -> BufferedWriter:
    path.unlink(missing_ok=True)
    return open(file_lock.opened(path), "wb")


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
