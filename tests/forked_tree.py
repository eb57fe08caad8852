"""How do tests run many commands without paying for Python's imports each time?

One process has imported the engine and forks another for each command: real processes, real exit codes, 30 ms instead of 600.
Run as a program, this file is that process; `Workshop` is the tree of the project that it stands in.
"""

from __future__ import annotations

import ast
import gc
import importlib
import io
import json
import os
import pkgutil
import re
import runpy
import select
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Iterator
from contextlib import redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import NoReturn

from railhead.devserver import shared
from railhead.dsn import Dsn
from tests.databases import Databases
from tests.processes import environment, eventually
from tests.project_tree import ALEMBIC, MIGRATE, ROOT, Tree

_ALEMBIC = "import sys; from alembic.config import main; sys.exit(main(prog='alembic'))"
_READY_WITHIN = 60.0

_LIBRARIES = (
    "alembic.command",
    "alembic_postgresql_enum",
    "flask.testing",
    "flask_wtf",
    "psycopg2.extras",
    "sqlalchemy.dialects.postgresql.psycopg2",
    "sqlalchemy.orm",
)
_PROGRAMS = {"railhead.__main__", "railhead.devserver.warden"}
_PATTERN = re.compile(r"""\bre\.\w+\((r?"[^"\n]*"|r?'[^'\n]*'), """)
"""A pattern that is compiled when it is first used."""


class Workshop(Tree):
    """A tree whose `alembic`, `utils/migrate.py` and `python -c` are forks of one process; `start` runs the real programs."""

    def __init__(self, root: Path, source: Path) -> None:
        """Stand in `root`, a copy of `source`, and import there what the commands need."""
        super().__init__(root)
        self._source = source
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), str(root)],
            cwd=root,
            env=environment(PYTHONPATH=str(ROOT), PYTHONDONTWRITEBYTECODE="1", TZ=os.environ.get("TZ", "UTC")),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._ready = False

    def renew(self) -> None:
        """Put the files that tests change back as they were."""
        for name in (".env", ".data", "migrations", "models.py"):
            place = self.root / name
            if name == ".data" and place.exists():
                eventually(partial(shared.gone, place), within=30, what="the server of the test before ends")
            shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        shutil.copytree(
            self._source / "migrations", self.root / "migrations", ignore=shutil.ignore_patterns("__pycache__")
        )
        shutil.copy2(self._source / "models.py", self.root / "models.py")
        self._last = None

    def run(
        self, *command: str, within: float = 60.0, text: str = "", **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command and return how it ended, as `Tree.run` does."""
        code, arguments = _as_code(command)
        if code is None:
            return super().run(*command, within=within, text=text, **variables)
        (self.root / "told").write_text(text)
        request = {"code": code, "arguments": arguments, "environment": environment(self.database, **variables)}
        exit_code = self._ask(json.dumps(request), within)
        said, complained = ((self.root / name).read_text(errors="replace") for name in ("said", "complained"))
        return subprocess.CompletedProcess(command, exit_code, said, complained)

    def close(self) -> None:
        """End the process that forks."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait()

    def _ask(self, request: str, within: float) -> int:
        assert self._process.stdin
        if not self._ready:
            assert self._answer(_READY_WITHIN) == "ready", "the engine cannot be imported; standard error says why"
            self._ready = True
        self._process.stdin.write(request.encode() + b"\n")
        self._process.stdin.flush()
        pid = int(self._answer(within) or 0)
        answer = self._answer(within)
        if answer is None:
            os.killpg(pid, signal.SIGKILL)
            self._answer(within)
            raise AssertionError(f"still running after {within:g} s: {request}")
        return int(answer)

    def _answer(self, within: float) -> str | None:
        assert self._process.stdout
        ready, _, _ = select.select([self._process.stdout], [], [], within)
        return _line(self._process.stdout.fileno()) if ready else None


def opened(root: Path, source: Path) -> Iterator[Workshop]:
    """Give a workshop in `root`, a copy of `source`; its processes end with it."""
    shutil.copytree(source, root)
    workshop = Workshop(root, source)
    yield workshop
    workshop.close()


def renewed(workshop: Workshop, database: Dsn) -> Iterator[Workshop]:
    """Give the workshop as it was in the beginning; its commands are told `database`."""
    workshop.renew()
    workshop.database = database
    yield workshop
    workshop.end()


def database_at_head(templates: Databases, workshop: Workshop) -> str:
    """Return the name of a database that the workshop's project has migrated."""
    workshop.renew()
    workshop.database = templates.new()
    ended = workshop.migrate()
    assert ended.returncode == 0, ended.stderr
    return workshop.database.parameters()["dbname"]


def _as_code(command: tuple[str, ...]) -> tuple[str | None, list[str]]:
    if command[: len(MIGRATE)] == MIGRATE:
        return "", list(command[1:])
    if command[:1] == ALEMBIC:
        return _ALEMBIC, ["alembic", *command[1:]]
    if command[:2] == (sys.executable, "-c"):
        return command[2], ["-c", *command[3:]]
    return None, []


def _line(descriptor: int) -> str:
    """Return one line, reading no further: what comes after it is not lost in a buffer."""
    line = bytearray()
    while (byte := os.read(descriptor, 1)) not in {b"", b"\n"}:
        line += byte
    return line.decode()


def _serve(root: str) -> None:
    """Fork a process for each line of standard input; answer with its id, and then with its exit code."""
    sys.path[0] = root
    sys.path.remove(str(ROOT))
    for name in [name for name in sys.modules if name.split(".")[0] in {"railhead", "tests", "utils"}]:
        del sys.modules[name]  # those of the real tree; from here on it is the copy's
    _warm_up(Path(root))
    models = (Path(root) / "models.py").read_bytes()
    gc.freeze()
    os.environ.clear()
    _tell("ready")
    while line := _line(0):
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            if (Path(root) / "models.py").read_bytes() != models:
                _forget("models", "app")
            _become(request)
        _tell(str(pid))
        _, status = os.waitpid(pid, 0)
        _tell(str(os.waitstatus_to_exitcode(status)))


def _warm_up(root: Path) -> None:
    """Import what commands need, and let Python keep what it would make anew in each of them: patterns, parsers."""
    for name in _LIBRARIES:
        importlib.import_module(name)
    engine = importlib.import_module("railhead")
    for module in pkgutil.walk_packages(engine.__path__, "railhead."):
        if module.name not in _PROGRAMS:
            importlib.import_module(module.name)
    door = importlib.import_module("utils.migrate")
    importlib.import_module("app")
    with redirect_stdout(io.StringIO()), suppress(SystemExit):
        door.main(["upgrade", "--help"])
    for file in (root / "railhead").rglob("*.py"):
        for pattern in _PATTERN.findall(file.read_text()):
            with suppress(re.error):
                re.compile(ast.literal_eval(pattern))


def _forget(*packages: str) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] in packages]:
        del sys.modules[name]


def _tell(answer: str) -> None:
    os.write(1, answer.encode() + b"\n")


def _become(request: dict[str, object]) -> NoReturn:
    """Run the command as a process of its own would, and end with its exit code."""
    os.setsid()
    os.environ.update(request["environment"])  # type: ignore[arg-type]
    for descriptor, (name, mode) in enumerate(
        (("told", os.O_RDONLY), ("said", os.O_WRONLY), ("complained", os.O_WRONLY))
    ):
        opened = os.open(name, mode | (os.O_CREAT | os.O_TRUNC if mode else 0), 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    sys.argv = list(request["arguments"])  # type: ignore[call-overload]
    importlib.invalidate_caches()
    code = 1
    try:
        if request["code"]:
            exec(compile(str(request["code"]), "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.path[0] = os.path.abspath("utils")
            runpy.run_path(sys.argv[0], run_name="__main__")
        code = 0
    except SystemExit as end:
        code = _exit_code(end.code)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _exit_code(given: object) -> int:
    if isinstance(given, int) or given is None:
        return given or 0
    print(given, file=sys.stderr)
    return 1


if __name__ == "__main__":
    _serve(sys.argv[1])
