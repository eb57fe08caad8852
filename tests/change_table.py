"""What becomes of each kind of change of the models: written, loaded, up, down, up with rows, and nothing left over?

`python -m tests.change_table [KINDS] [FILE]` judges those whose name matches and writes the table; `Bench.judge` is what the tests
assert. Beside each stands what plain Alembic does.
"""

from __future__ import annotations

import dis
import logging
import re
import sys
import tempfile
import textwrap
import time
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import psycopg2
import sqlalchemy as sa
from alembic.autogenerate import produce_migrations, render_op_text
from alembic.autogenerate.api import AutogenContext
from alembic.ddl.postgresql import PostgresqlImpl
from alembic.operations import Operations, ops
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from models import NAMES
from railhead.autogenerate import model_diff
from railhead.dsn import Dsn
from railhead.errors import Stop
from railhead.hazards import rules
from railhead.schema.catalog import read
from tests import model_changes
from tests.desk import Desk, made_by_revisions
from tests.footprints import footprints_of
from tests.model_changes import Change

_WIPE = """
DO $$ DECLARE one record; BEGIN
  FOR one IN SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' LOOP
    EXECUTE format('DROP SCHEMA %I CASCADE', one.nspname);
  END LOOP;
  CREATE SCHEMA public;
END $$
"""

_BEFORE = """\
from alembic import op

revision = "0000_before"
down_revision = None


def upgrade():
    for statement in {statements!r}:
        op.get_bind().exec_driver_sql(statement)


def downgrade():
    pass
"""


class Verdict(NamedTuple):
    """What became of one change."""

    kind: str
    calls: list[list[str]]
    """The calls of the upgrades, file by file; none where nothing is written."""
    loads: bool
    up: str
    """Empty where it ran; else the error. So the others."""
    down: str
    again: str
    left: str
    """What is not as the models have it afterwards, or what is written although nothing has changed."""
    agree: str
    """Where autogenerate, `check` and `drift` do not say the same."""
    hazards: tuple[str, ...]
    said: str
    """What the files, the refusal and the log say."""
    plain: str
    """What plain Alembic does: `right`, or how it goes wrong."""
    wanted: str | None
    """The pattern of what must be said, where it is not done."""

    @property
    def is_done(self) -> bool:
        """Tell whether it loads, runs up, down and up, and leaves nothing over."""
        return self.loads and not (self.up or self.down or self.again or self.left or self.agree)

    @property
    def is_told(self) -> bool:
        """Tell whether what must be said is said, in words that are not a crash."""
        told = self.wanted is not None and re.search(self.wanted, self.said, re.DOTALL) is not None
        return told and self.loads and not self.agree and "CRASH" not in self.said

    @property
    def row(self) -> str:
        """The verdict as a line of the table."""
        words = " → ".join(", ".join(f"`{call}`" for call in calls) for calls in self.calls) or "nothing"
        marks = [self.loads, *(not one for one in (self.up, self.down, self.again, self.left, self.agree))]
        cells = (
            ["yes" if mark else "no" for mark in marks]
            if self.calls
            else ["yes", *["-"] * 3, *("no" if one else "yes" for one in (self.left, self.agree))]
        )
        sentence = re.search(f".*(?:{self.wanted}).*", self.said) if self.wanted else None
        said = sentence[0].strip().replace("|", "\\|") if sentence else ""
        return f"| {self.kind} | {words} | {' | '.join(cells)} | {', '.join(self.hazards)} | {said} | {self.plain} |"


class Bench:
    """One database, one process, and a desk for each change."""

    def __init__(self, database: Dsn, folder: Path) -> None:
        """Open what a run needs."""
        engine = sa.create_engine("postgresql+psycopg2://", poolclass=sa.NullPool)
        self.desk = Desk(folder / "migrations", database, engine)
        self._driver = psycopg2.connect(database)
        self._driver.autocommit = True
        self._heard = _Heard()
        self._heard.listen()

    def leave(self) -> None:
        """Close what is open."""
        self._heard.leave()
        self._driver.close()
        self.desk.leave()

    def judge(self, kind: str, change: Change, server: Dsn | None = None) -> Verdict:
        """Return what becomes of a change; with its hazards, where there is a `server` to look at them."""
        for file in self.desk.versions.glob("*.py"):
            file.unlink()
        before, after = (
            built(half, named=named, apart=change.apart)
            for half, named in ((change.before, change.named is True), (change.after, change.named is not False))
        )
        wanted = self._wanted(change, after)
        models = after if change.apart else after[0]
        self._run(_WIPE, change.first)
        self.desk.said.clear()
        create(self.desk.engine, before)
        made = [
            one.removeprefix("> ").strip() for one in self.desk.said if re.match(r"> \s*(CREATE|ALTER|COMMENT)", one)
        ]
        self._run(change.rows, change.beside)
        start = self._catalog()
        plain = self._plain(models, wanted)
        self._heard.lines.clear()
        files, agree, said = self._written(kind, models)
        texts = [self.desk.text(file) for file in files]
        said += "".join(f"\n{line}" for text in texts for line in re.findall(r"(?m)^ *# (.*)$", text))
        said += "".join(f"\n{line}" for line in self._heard.lines if "cannot be asked" not in line)
        loads = all(_loads(self.desk.versions / f"{file}.py") for file in files)
        up = down = again = left = ""
        if files:
            up, down, again, left = self._moved(change, models, start, wanted)
            left = f"noise: {left}" if wanted == start else left
        elif not change.said and not change.gap:
            left = _difference(wanted, self._catalog())
        calls = [_calls(text) for text in texts]
        found = self._hazards(server, files, [change.first, *made, change.beside]) if server and files else ()
        return Verdict(kind, calls, loads, up, down, again, left, agree, found, said.strip(), plain, change.said)

    def _written(self, kind: str, models: Any) -> tuple[list[str], str, str]:
        """Return the files, where the three ways of asking differ, and what is said instead."""
        try:
            drift = self.drift(models)
            check = self.desk.differences(models)
            files = self.desk.revision(models, re.sub(r"\W+", " ", kind))
        except Stop as stop:
            return [], "", str(stop.render("alembic"))
        except Exception as error:
            return [], "", f"CRASH {type(error).__name__}: {error}"
        answers = {"drift": bool(drift), "check": bool(check), "autogenerate": bool(files)}
        return files, "" if len(set(answers.values())) == 1 else str(answers), "\n".join(map(str, drift))

    def _moved(
        self, change: Change, models: Any, start: list[str], wanted: list[str] | None
    ) -> tuple[str, str, str, str]:
        """Go up, down and up again; return what failed on each way, and what is left over."""
        up = _tried(self.desk.upgrade)
        if up:
            return up, "", "", ""
        left = [] if change.gap else [_difference(wanted, self._catalog())]
        left.append(_tried(lambda: self._left(models)) if not change.gap else "")
        down = _tried(self.desk.downgrade) or _difference(start, self._catalog())
        again = _tried(self.desk.upgrade) or ("" if change.gap else _difference(wanted, self._catalog()))
        return up, down, again, "; ".join(filter(None, left))

    def _left(self, models: Any) -> None:
        rest = [*self.drift(models), *self.desk.differences(models), *self.desk.revision(models, "left over")]
        for file in self.desk.versions.glob("*left_over*"):
            file.unlink()
        assert not rest, rest

    def drift(self, models: Any) -> list[model_diff.Difference]:
        """Return what `drift` says of the models."""
        environment = EnvironmentContext(self.desk.config, ScriptDirectory.from_config(self.desk.config))
        return model_diff.differences(environment, models, self._driver, made_by_revisions(self._driver))

    def _hazards(self, server: Dsn, files: list[str], made: list[str]) -> tuple[str, ...]:
        """Return what `seal` would find in the files."""
        statements = [statement for statement in made if statement]
        (self.desk.versions / "0000_before.py").write_text(_BEFORE.format(statements=statements))
        first = self.desk.versions / f"{files[0]}.py"
        first.write_text(re.sub(r"(?m)^(down_revision.*= )None", r'\1"0000_before"', first.read_text()))
        try:
            history, footprints = footprints_of(server, self.desk.versions, files)
            found = [rules.findings(one, history.by_id[one.revision]) for one in footprints]
        except Exception as error:
            return (f"{type(error).__name__}",)
        return tuple(sorted({str(finding.slug) for findings in found for finding in findings}))

    def _wanted(self, change: Change, after: Sequence[sa.MetaData]) -> list[str] | None:
        """Return the schema that `create_all` makes, None where it cannot."""
        self._run(_WIPE, change.first)
        for schema in {table.schema for metadata in after for table in metadata.tables.values() if table.schema}:
            self._run(f"CREATE SCHEMA IF NOT EXISTS {schema}")
        try:
            create(self.desk.engine, after)
            self._run(change.beside)
        except (sa.exc.DBAPIError, psycopg2.Error):
            return None
        return self._catalog()

    def _catalog(self) -> list[str]:
        return read(self._driver, often=True).text.splitlines()

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Return what a query gives."""
        with self._driver.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    def _run(self, *statements: str) -> None:
        with self._driver.cursor() as cursor:
            for statement in filter(None, statements):
                cursor.execute(statement)

    def _plain(self, models: Any, wanted: list[str] | None) -> str:
        """Return what plain Alembic does, in a transaction that is rolled back."""
        with self.desk.engine.connect() as connection, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                context = _plain_context(connection, models)
                script = produce_migrations(context, models)
                there, back = (_plain_code(context, half) for half in (script.upgrade_ops, script.downgrade_ops))
                there(context)
                if produce_migrations(_plain_context(connection, models), models).upgrade_ops.ops:  # type: ignore[union-attr]
                    return "left over"
                driver: Any = connection.connection.dbapi_connection
                if _difference(wanted, read(driver, often=True).text.splitlines()):
                    return "silent"
                back(context)
            except Exception as error:
                return f"fails: {type(error).__name__}"
            finally:
                connection.rollback()
        return "right"


def _plain_context(connection: sa.Connection, models: Any) -> MigrationContext:
    """Return Alembic's own context, with nothing of ours in it."""
    opts = {"target_metadata": models, "include_schemas": True, "compare_server_default": True}
    context = MigrationContext.configure(connection, opts=opts)
    context.impl = PostgresqlImpl(connection.dialect, connection, False, None, None, opts)  # type: ignore[no-untyped-call]
    return context


def _plain_code(context: MigrationContext, half: Any) -> Callable[[MigrationContext], None]:
    """Return what runs what Alembic writes, as it writes it."""
    words = {"sqlalchemy_module_prefix": "sa.", "alembic_module_prefix": "op.", "user_module_prefix": None}
    autogen = AutogenContext(context, opts={**context.opts, **words, "render_item": None})
    autogen.imports = set()
    code = "\n".join(render_op_text(autogen, one) for one in _flat(half.ops))

    def run(context: MigrationContext) -> None:
        names: dict[str, Any] = {"sa": sa, "op": Operations(context)}
        exec("\n".join(sorted(autogen.imports or ())), names)
        exec(code, names)

    return run


def _flat(operations: Sequence[Any]) -> Iterator[Any]:
    for operation in operations:
        if isinstance(operation, ops.ModifyTableOps):
            yield from _flat(operation.ops)
        else:
            yield operation


class _Heard(logging.Handler):
    """Keeps what is logged."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self._log = logging.getLogger("railhead")
        self._level = self._log.level

    def listen(self) -> None:
        """Begin."""
        self._log.addHandler(self)
        self._log.setLevel("INFO")

    def leave(self) -> None:
        """End."""
        self._log.removeHandler(self)
        self._log.setLevel(self._level)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep it."""
        self.lines.append(record.getMessage())


def built(builds: Sequence[Any], *, named: bool, apart: bool) -> list[sa.MetaData]:
    """Return the models: all in one MetaData, or each in its own."""
    metadatas = [sa.MetaData(naming_convention=NAMES if named else None) for _ in (builds if apart else [0])]
    for number, build in enumerate(builds):
        build(metadatas[number if apart else 0])
    return metadatas


def create(engine: sa.Engine, metadatas: Sequence[sa.MetaData]) -> None:
    """Make the tables; what is mapped to the view `v` is none."""
    for metadata in metadatas:
        metadata.create_all(engine, tables=[table for table in metadata.sorted_tables if table.name != "v"])


def _tried(move: Callable[[], object]) -> str:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            move()
    except Exception as error:
        return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    return ""


def _difference(wanted: list[str] | None, lines: list[str]) -> str:
    """Return the lines of a catalog that are missing, and those that are too many."""
    if wanted is None or wanted == lines:
        return ""
    missing = [f"-{line}" for line in wanted if line not in lines]
    return " ".join([*missing, *(f"+{line}" for line in lines if line not in wanted)]).replace("\t", " ")


def _loads(path: Path) -> bool:
    """Tell whether a file compiles, can be loaded, and uses no name that it does not have."""
    module = types.ModuleType("revision")
    try:
        exec(compile(path.read_text(), str(path), "exec"), module.__dict__)
    except Exception:
        return False
    known = {*module.__dict__, *dir(__builtins__)}
    functions = (module.upgrade, module.downgrade)
    used = {str(one.argval) for part in functions for one in dis.get_instructions(part) if one.opname == "LOAD_GLOBAL"}
    return used <= known


def _calls(text: str) -> list[str]:
    body = text.partition("def upgrade()")[2].partition("\ndef ")[0]
    lines = [line for line in body.splitlines() if not line.lstrip().startswith("#")]
    return [name for name in re.findall(r"\bop\.(\w+)\(", "\n".join(lines)) if name != "f"]


@contextmanager
def bench(database: Dsn, folder: Path) -> Iterator[Bench]:
    """Give a bench."""
    place = Bench(database, folder)
    try:
        yield place
    finally:
        place.leave()


def table(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """Yield the lines of the table."""
    yield "| Change | Written | Loads | Up | Down | Up with rows | Nothing left over | Agree | Hazards | Said instead | Plain Alembic |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    yield from (verdict.row for verdict in verdicts)


def _told(verdict: Verdict) -> str:
    """Return what is wrong with a verdict, for who mends it."""
    parts = {name: str(getattr(verdict, name))[:600] for name in ("loads", "up", "down", "again", "left", "agree")}
    lines = [f"    {name}: {words}" for name, words in parts.items() if words]
    return "\n".join(
        [
            f"### {verdict.kind}  [{verdict.plain}] {verdict.calls}",
            *lines,
            textwrap.indent(verdict.said[:1500], "    | "),
        ]
    )


def main(kinds: str, target: str) -> None:
    """Judge the changes whose kind matches, on a server of our own; write the table to `target`, if there is one."""
    from railhead.devserver import shared
    from tests.conftest import _NOT_SAFE
    from tests.databases import memory

    folder = Path(tempfile.mkdtemp(prefix="railhead-table-", dir=memory()))
    started = time.process_time()
    server = shared.use(folder / "server", _NOT_SAFE, linger=0).with_(dbname="postgres")
    try:
        with bench(server, folder) as place:
            verdicts = [
                place.judge(kind, change, server if target else None)
                for kind, change in model_changes.CHANGES.items()
                if re.search(kinds, kind)
            ]
    finally:
        shared.leave(folder / "server")
    for verdict in verdicts:
        if not (verdict.is_done or verdict.is_told):
            print(_told(verdict))
    done, told = sum(one.is_done for one in verdicts), sum(one.is_told and not one.is_done for one in verdicts)
    print(
        f"{len(verdicts)} kinds: {done} done, {told} told; {time.process_time() - started:.1f} s of CPU here",
        file=sys.stderr,
    )
    if target:
        Path(target).write_text("\n".join(table(verdicts)) + "\n")


if __name__ == "__main__":
    main(*[*sys.argv[1:], "", ""][:2])
