"""The PostgreSQL of those who named none."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from railhead.devserver import file_lock, run_as, shared
from railhead.devserver.server import Server
from railhead.dsn import Dsn
from railhead.errors import Stop
from railhead.settings import Settings
from tests.databases import memory, rows_of
from tests.processes import Running, environment, eventually
from tests.project_tree import ROOT

QUICK = {"fsync": "off", "shared_buffers": "16MB"}

USER = """
import sys, pathlib
sys.path.insert(0, sys.argv[1])
from railhead.devserver import shared as embedded
before = set(sys.modules)
dsn = embedded.use(pathlib.Path(sys.argv[2]), {"fsync": "off", "shared_buffers": "16MB"}, float(sys.argv[3]))
print(dsn.parameters()["host"], *sorted(set(sys.modules) - before), flush=True)
if sys.argv[4] == "stay":
    sys.stdin.read() or __import__("signal").pause()
"""

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="about root, who may not run PostgreSQL")

Enter = Callable[..., Running]


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A data folder, made once; the tests that are not about making one take a copy."""
    with tempfile.TemporaryDirectory(dir=memory()) as place:
        server = Server(Path(place) / "postgres", QUICK)
        server.start()
        server.stop()
        yield server.data


@pytest.fixture
def folder(room: Path, made: Path) -> Iterator[Path]:
    """A folder as `.data/` is, made and not started; nothing of it runs afterwards."""
    place = room / ".data"
    shutil.copytree(made, place / "postgres")
    yield place
    shared.leave(place)
    shutil.rmtree(place, ignore_errors=True)  # which ends what still runs there


@pytest.fixture
def enter(folder: Path, tmp_path: Path) -> Iterator[Enter]:
    """Start a process that uses the server in `folder`, and wait until it has its answer."""
    started: list[Running] = []
    places = {folder}

    def enter(*, linger: float = 0.0, stay: bool = True, place: Path = folder, wait: bool = True) -> Running:
        command = (sys.executable, "-c", USER, str(ROOT), str(place), str(linger), "stay" if stay else "go")
        user = Running(command, tmp_path, environment(), tmp_path / f"user-{len(started)}")
        started.append(user)
        places.add(place)
        if wait:
            eventually(lambda: user.stdout.endswith("\n") or user.process.poll() is not None, within=30)
            assert user.stdout, user.stderr
        return user

    yield enter
    for user in started:
        user.end()
    eventually(lambda: all(map(shared.gone, places)), within=20, what="server and warden end")


def test_named_database_is_left_alone() -> None:
    """Settings that name a database come back as they were."""
    settings = Settings(database=Dsn.of(host="db"), migrate_database=Dsn.of(host="db", user="owner"))
    assert shared.fill(settings) is settings


def test_production_names_its_database() -> None:
    """In production nothing is made up: the message says what to set."""
    with pytest.raises(Stop) as caught:
        shared.fill(Settings(production=True))
    assert (caught.value.slug, caught.value.exit_code) == ("no-database", 3)
    assert "set DATABASE_URL" in caught.value.render()


def test_missing_package_is_told() -> None:
    """Where only requirements.txt is installed, the message says how to get the server, or to name one."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from railhead import errors; from railhead.devserver import binaries as programs\n"
        "try: programs.binary('postgres')\n"
        "except errors.Stop as stop: print(stop.render())"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(ROOT)], capture_output=True, text=True, check=True
    )
    assert "pip install -r requirements-dev.txt" in result.stdout
    assert "DATABASE_URL=postgresql://" in result.stdout
    assert "[no-database]" in result.stdout


def test_new_server_holds_an_empty_utf8_database(room: Path) -> None:
    """From nothing comes a database that is UTF-8, sorts the same on every machine, and takes its time in UTC."""
    server = Server(room / "postgres", QUICK)
    try:
        server.start()
        question = "SELECT current_database(), pg_encoding_to_char(encoding), datlocale, current_setting('timezone')"
        assert rows_of(server.dsn, f"{question} FROM pg_database WHERE datname = current_database()") == [
            ("railhead", "UTF8", "C.UTF-8", "UTC")
        ]
    finally:
        server.stop()


def test_nobody_else_can_connect(enter: Enter, folder: Path) -> None:
    """The socket stands in a folder that only its owner may enter, the server listens on no port, and counts as local."""
    enter()
    server = Server(folder / "postgres")
    sockets = Path(server.dsn.parameters()["host"])
    assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert rows_of(server.dsn, "SHOW listen_addresses") == [("",)]
    assert server.dsn.is_local()


def test_second_user_starts_no_program(enter: Enter) -> None:
    """Who finds the server running pays for a few files, not for subprocess, ctypes or tempfile."""
    enter()
    second = enter()
    assert second.stdout.split()[1:] == []


def test_eight_at_once_share_one_server(enter: Enter, folder: Path) -> None:
    """Eight processes that start together get one server, and none of them an error."""
    users = [enter(wait=False) for _ in range(8)]
    eventually(lambda: all(user.stdout.endswith("\n") for user in users), within=30)
    assert len({user.stdout.split()[0] for user in users}) == 1
    assert (folder / "postgres.log").read_text().count("ready to accept connections") == 1


def test_server_stops_with_its_last_user(enter: Enter, folder: Path) -> None:
    """It runs while one of two users is left, however the other went, and stops after the last."""
    first, second = enter(), enter()
    server = Server(folder / "postgres")
    pid = server.pid
    first.send(signal.SIGKILL)
    first.wait()
    assert rows_of(server.dsn, "SELECT 1") == [(1,)]
    second.send(signal.SIGKILL)
    eventually(lambda: shared.gone(folder))
    assert pid is not None
    assert not Path(f"/proc/{pid}").exists()


def test_forked_worker_is_a_user(folder: Path) -> None:
    """The server outlives a master whose forked worker still runs."""
    shared.use(folder, QUICK, 0.0)
    reading, writing = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    shared.leave(folder)
    with pytest.raises(AssertionError, match="not within"):
        eventually(lambda: shared.gone(folder), within=1)
    os.close(writing)
    os.close(reading)
    os.waitpid(worker, 0)
    eventually(lambda: shared.gone(folder))


def test_chain_of_commands_finds_the_same_server(enter: Enter, folder: Path) -> None:
    """Commands that follow each other find the server of the first: it lingers."""
    enter(stay=False, linger=2.0).wait()
    pid = Server(folder / "postgres").pid
    enter(stay=False, linger=2.0).wait()
    assert Server(folder / "postgres").pid == pid


def test_command_substitution_does_not_hang(folder: Path) -> None:
    """`$(command)` gets its end of file while the server still runs: neither server nor warden holds the pipe."""
    command = [sys.executable, "-c", USER, str(ROOT), str(folder), "20", "go"]
    subprocess.run(command, capture_output=True, check=True, timeout=15, env=environment())
    assert not shared.gone(folder)


def test_ctrl_c_reaches_neither_server_nor_warden(enter: Enter, folder: Path) -> None:
    """Both live in a session of their own, where the terminal's signals do not reach them."""
    user = enter()
    assert os.getsid(Server(folder / "postgres").pid or 0) != os.getsid(user.pid)
    os.killpg(user.pid, signal.SIGINT)
    user.wait()
    eventually(lambda: "received fast shutdown request" in (folder / "postgres.log").read_text())
    eventually(lambda: shared.gone(folder))


def test_stale_pid_file_is_not_believed(enter: Enter, folder: Path) -> None:
    """After a power cut, the pid in the file may be anybody's: here it is ours."""
    (folder / "postgres" / "postmaster.pid").write_text(
        f"{os.getpid()}\n{folder}/postgres\n1700000000\n5432\n/tmp/railhead-gone\n\n  1 1\nready   \n"
    )
    assert enter().stdout


def test_half_made_data_are_made_anew(room: Path) -> None:
    """A start that was killed while it made the data leaves nothing that the next takes for a database."""
    (room / "postgres.new").mkdir()
    (room / "postgres.new" / "PG_VERSION").write_text("18\n")
    server = Server(room / "postgres", QUICK)
    try:
        server.start()
        assert rows_of(server.dsn, "SELECT 1") == [(1,)]
    finally:
        server.stop()


def test_killed_warden_is_replaced(enter: Enter, folder: Path) -> None:
    """The next user sends a new warden to the running server, which still stops after the last."""
    first = enter()
    server = Server(folder / "postgres")
    pid = server.pid
    os.kill(_warden_of(server), signal.SIGKILL)
    eventually(lambda: not file_lock.is_held(folder / "warden.lock"))
    second = enter()
    assert server.pid == pid
    for user in (first, second):
        user.end()
    eventually(lambda: shared.gone(folder))


def test_killed_server_is_started_again(enter: Enter, folder: Path) -> None:
    """A server that died is replaced for the next user, who finds what was committed."""
    enter()
    server = Server(folder / "postgres")
    rows_of(server.dsn, "CREATE TABLE kept AS SELECT 7 AS number")
    os.kill(server.pid or 0, signal.SIGKILL)
    eventually(lambda: not server.ready())
    enter()
    assert rows_of(server.dsn, "SELECT number FROM kept") == [(7,)]


def test_removed_folder_ends_the_server(enter: Enter, folder: Path) -> None:
    """`rm -r .data` leaves no process behind, and the next user gets a new server."""
    enter()
    pid = Server(folder / "postgres").pid
    shutil.rmtree(folder)
    eventually(lambda: not Path(f"/proc/{pid}").exists())
    assert enter().stdout


@pytest.mark.parametrize("name", ["with a space", "comma, 'quote' \"double\" and 100%", "ü" * 40 + "/" + "x" * 200])
def test_any_path_will_do(enter: Enter, made: Path, room: Path, name: str) -> None:
    """A folder may be called anything, and lie deeper than a socket may."""
    place = room / name
    shutil.copytree(made, place / "postgres")
    assert enter(place=place).stdout


def test_failure_says_what_the_server_said(folder: Path) -> None:
    """A server that cannot start is told with its own words and with what to do."""
    (folder / "postgres" / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(Stop) as caught:
        shared.use(folder, QUICK, 0.0)
    assert caught.value.slug == "embedded-failed"
    assert "initialized by PostgreSQL version 9.6" in caught.value.render()
    assert f"rm -r '{folder}'" in caught.value.render()


def test_server_comes_back_at_the_same_address(folder: Path) -> None:
    """After a crash and a new start the same Dsn reaches it, and what was committed is there."""
    server = Server(folder / "postgres", QUICK)
    server.start()
    try:
        dsn = server.dsn
        rows_of(dsn, "CREATE TABLE kept AS SELECT 7 AS number")
        server.stop("immediate")
        with pytest.raises(psycopg2.OperationalError):
            psycopg2.connect(dsn)
        server.start()
        assert rows_of(dsn, "SELECT number FROM kept") == [(7,)]
    finally:
        server.stop("immediate")


def test_standby_can_be_made_and_promoted(folder: Path) -> None:
    """`run` brings the other programs of PostgreSQL along: enough for a standby that takes over."""
    primary, standby = Server(folder / "postgres", QUICK), Server(folder / "standby", QUICK)
    primary.start()
    try:
        primary.run("pg_basebackup", "-d", primary.dsn, "-D", str(standby.data), "-R", "--checkpoint=fast", "--no-sync")
        standby.start()
        assert rows_of(standby.dsn, "SELECT pg_is_in_recovery()") == [(True,)]
        primary.stop("immediate")
        assert rows_of(standby.dsn, "SELECT pg_promote()") == [(True,)]
        rows_of(standby.dsn, "CREATE TABLE written ()")
    finally:
        primary.stop("immediate")
        standby.stop("immediate")


@only_root
@pytest.mark.parametrize("way", ["namespace", "user", "owner"])
def test_root_opens_no_permission(made: Path, way: str) -> None:
    """Root starts it below closed folders, by each of the three ways, and their modes stay as they were."""
    closed = Path(tempfile.mkdtemp())
    server = Server(closed / "postgres", QUICK)
    try:
        shutil.copytree(made, server.data)
        if way == "owner":
            os.chown(server.data, 1234567, 1234567)
        elif way == "user":
            server._guise = run_as.candidates(0, 0)[1]
        server.start()
        owner = Path(f"/proc/{server.pid}").stat().st_uid
        server.stop()
        assert owner == {"namespace": 0, "user": run_as._somebody().pw_uid, "owner": 1234567}[way]
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    finally:
        server.stop("immediate")
        shutil.rmtree(closed)


def _warden_of(server: Server) -> int:
    status = Path(f"/proc/{server.pid}/stat").read_text()
    return int(status.rpartition(")")[2].split()[1])
