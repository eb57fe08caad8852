"""What does a revision ask of `op`? Its function is run, and each operation is written down instead of done.

Nothing is reached meanwhile, neither a database nor anything else. What depends on the answer of one cannot be recorded.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, NoReturn

import alembic
import sqlalchemy as sa
from alembic.operations import BatchOperations, MigrateOperation, Operations, ops
from alembic.operations.batch import BatchOperationsImpl
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Dialect
from sqlalchemy.dialects import postgresql

from railhead.autogenerate.render import Verb
from railhead.hazards.remedy.isolation import isolated
from railhead.history import alembic_quirks
from railhead.history.graph import syntax
from railhead.history.loader import without_warnings
from railhead.operations.names import REPEATABLE
from railhead.operations.verbs import Verbs

Place = tuple[int, int]
"""A line of a file, and how many bytes stand before it there."""


class NotRewritten(ValueError):
    """Why a revision is not rewritten, in words."""


@dataclass(frozen=True, slots=True)
class Call:
    """One operation that a revision asks for."""

    operation: MigrateOperation
    """Of a verb the `Verb`, with the plain operation that it is like where there is one."""
    place: Place
    """Where in the function that was run."""
    outside: bool
    """Whether it leaves the transaction."""
    plain: bool = True
    """Whether the file itself calls `op`, under no condition: another call may be written in its place."""

    @property
    def sql(self) -> str | None:
        """Return the SQL that `op.execute` is given as a text."""
        statement = self.operation.sqltext if isinstance(self.operation, ops.ExecuteSQLOp) else None
        text = statement.text if isinstance(statement, sa.TextClause) else statement
        return text.replace("\\:", ":") if isinstance(text, str) else None  # an escaped colon is no parameter


@dataclass(frozen=True, slots=True)
class Recording:
    """What a function asked for, and the place at which it stopped with an error of its own."""

    calls: tuple[Call, ...]
    stopped: Place | None = None
    error: BaseException | None = None


def recorded(source: str, function: str, file: str) -> Recording:
    """Return what `upgrade` or `downgrade` of a source asks for, in order. Raises NotRewritten when that depends on a database."""
    code = compile(source, f"<{file}>", "exec", dont_inherit=True)
    module: dict[str, Any] = {"__name__": Path(file).stem, "__file__": file}
    notes = _Notes(syntax(source), code.co_filename)
    with without_warnings(), isolated(notes.refuse):
        try:
            exec(code, module)  # noqa: S102  Alembic has imported the same file
            with alembic_quirks.answering(_Recorder(notes)):
                notes.code = inspect.unwrap(module[function]).__code__
                module[function]()
        except (Exception, SystemExit) as error:  # anybody's code
            if notes.problem is None:
                return Recording(tuple(notes.calls), _place(error, notes.code), error)
    if notes.problem is not None:
        raise notes.problem
    return Recording(tuple(notes.calls))


def _place(error: BaseException, code: CodeType | None) -> Place:
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_code is not code:
        trace = trace.tb_next
    return (0, 0) if trace is None else _position(trace.tb_frame.f_code, trace.tb_lasti)


def _position(code: CodeType, instruction: int) -> Place:
    line, _, column, _ = [*code.co_positions()][instruction // 2]
    return line or 0, column or 0


class _Notes:
    """What was asked for so far."""

    def __init__(self, tree: ast.Module, filename: str) -> None:
        self.calls: list[Call] = []
        self.problem: NotRewritten | None = None
        self.code: CodeType | None = None
        self.outside = False
        self._filename = filename
        conditions = (ast.If, ast.IfExp, ast.Try, ast.While, ast.Match)
        self._conditions = [
            range(node.lineno, (node.end_lineno or node.lineno) + 1)
            for node in ast.walk(tree)
            if isinstance(node, conditions)
        ]

    def add(self, operation: MigrateOperation, *, outside: bool = False, plain: bool = True) -> None:
        """Write one operation down, with the place from which it comes."""
        frames = [*_frames()]
        callers = [frame for frame in frames if not frame.f_code.co_filename.startswith(_NOT_THE_CALLER)]
        own = [frame for frame in callers if frame.f_code.co_filename == self._filename]
        lines = [frame.f_lineno for frame in own]
        free = not any(line in condition for line in lines for condition in self._conditions)
        home = next((frame for frame in frames if frame.f_code is self.code), None)
        if home is None:
            self.refuse("what it asks of `op` is not asked by its own function")
        is_plain = plain and free and callers[0] in own
        self.calls.append(Call(operation, _position(home.f_code, home.f_lasti), outside or self.outside, is_plain))

    def refuse(self, why: str) -> NoReturn:
        """Remember why this cannot be recorded, however the revision goes on, and raise it."""
        self.problem = NotRewritten(why)
        raise self.problem


def _frames() -> Iterator[FrameType]:
    frame: FrameType | None = sys._getframe(2)  # noqa: SLF001  the documented way to one's callers
    while frame is not None:
        yield frame
        frame = frame.f_back


_NOT_THE_CALLER = (str(Path(alembic.__file__).parent), str(Path(sa.__file__).parent), __file__, "<string>")
"""Files, and code that Alembic makes, between a revision and its recorder."""


class _Recorder(Operations):
    """Alembic's `op`, which writes down what it is asked for."""

    def __init__(self, notes: _Notes) -> None:
        self._notes = notes
        super().__init__(_Context(notes))

    def invoke(self, operation: MigrateOperation) -> Any:
        """Write an operation down."""
        self._notes.add(operation)
        return operation.to_table(self.migration_context) if isinstance(operation, ops.CreateTableOp) else None

    def get_bind(self) -> Any:
        """Return what stands in for the connection."""
        return self.migration_context.connection

    @contextlib.contextmanager
    def batch_alter_table(  # type: ignore[override]  # of its options none matters here
        self, table_name: str, schema: str | None = None, **_options: Any
    ) -> Iterator[BatchOperations]:
        """Let what is asked of a batch be asked of the table."""
        rest: tuple[Any, ...] = ("auto", None, (), {}, (), {}, None, ())
        yield _Batch(self, BatchOperationsImpl(self, table_name, schema, *rest))  # type: ignore[no-untyped-call]  # Alembic's

    def verb(self, name: str, *args: Any, **kw: Any) -> None:
        """Write a verb down."""
        bound = inspect.signature(getattr(Verbs, name)).bind(self, *args, **kw)
        words = [word for word in bound.args[1:] if isinstance(word, str)]  # a keyword's, too
        like = _LIKE[name](*args, **kw) if name in _LIKE else None
        verb = Verb(name, *words, like=like, schema=kw.get("schema"))
        is_whole = len(words) == len(bound.args) - 1 and not {*bound.kwargs} - {"schema"}
        self._notes.add(verb, outside=True, plain=like is not None or is_whole)


class _Batch(BatchOperations):
    """A batch of it."""

    def __init__(self, recorder: _Recorder, batch: BatchOperationsImpl) -> None:
        super().__init__(recorder.migration_context, impl=batch)
        self._recorder = recorder

    def invoke(self, operation: MigrateOperation) -> Any:
        """Write an operation down."""
        return self._recorder.invoke(operation)


def _verb(name: str) -> Callable[..., None]:
    return lambda recorder, *args, **kw: recorder.verb(name, *args, **kw)


for _name_of_verb in REPEATABLE:
    setattr(_Recorder, _name_of_verb, _verb(_name_of_verb))


def _null(*, nullable: bool) -> Callable[..., MigrateOperation]:
    return lambda table_name, column_name, schema=None: ops.AlterColumnOp(
        table_name, column_name, schema=schema, modify_nullable=nullable
    )


_LIKE: dict[str, Callable[..., MigrateOperation]] = {
    "create_check_constraint_not_valid": ops.CreateCheckConstraintOp,
    "create_foreign_key_not_valid": ops.CreateForeignKeyOp,
    "create_index_concurrently": ops.CreateIndexOp,
    "create_unique_constraint_concurrently": ops.CreateUniqueConstraintOp,
    "drop_constraint_if_exists": ops.DropConstraintOp,
    "drop_index_concurrently": ops.DropIndexOp,
    "drop_not_null": _null(nullable=True),
    "set_not_null": _null(nullable=False),
}
"""The operation whose work a verb does."""


_DIALECT: Dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy's


class _Context(MigrationContext):
    """A context of PostgreSQL's that is connected to nothing."""

    def __init__(self, notes: _Notes) -> None:
        self._notes = notes
        connection: Any = _Connection(notes)
        super().__init__(_DIALECT, connection, {"target_metadata": sa.MetaData()})

    @contextlib.contextmanager
    def autocommit_block(self) -> Iterator[None]:
        """Note that what follows leaves the transaction."""
        self._notes.outside = True
        yield
        self._notes.outside = False


class _Connection:
    """What stands in for the connection: it takes statements, and has no answers."""

    def __init__(self, notes: _Notes) -> None:
        self._notes = notes
        self.dialect = _DIALECT

    def execute(self, statement: sa.Executable | str, *_values: object, **_options: object) -> _Answer:
        """Write a statement down."""
        self._notes.add(ops.ExecuteSQLOp(statement), plain=False)
        return _Answer(self._notes)

    exec_driver_sql = scalar = scalars = execute

    def in_transaction(self) -> bool:
        """Tell that it is in one."""
        return True

    def __getattr__(self, name: str) -> NoReturn:
        self._notes.refuse(f"it asks its connection for `{name}`")


class _Answer:
    """The answer to a statement: who looks at it, reads the database."""

    def __init__(self, notes: _Notes) -> None:
        self._notes = notes

    def __getattr__(self, name: str) -> NoReturn:
        self._looked_at()

    def _looked_at(self, *_rest: object) -> NoReturn:
        self._notes.refuse("it reads the database")


for _way_to_look in ("bool", "iter", "len", "int", "hash", "eq", "ne", "lt", "gt", "le", "ge", "add", "sub"):
    setattr(_Answer, f"__{_way_to_look}__", _Answer._looked_at)  # noqa: SLF001
