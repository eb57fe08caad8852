"""Does what `alembic revision --autogenerate` writes change a table that is in use without stopping it, forth and back?"""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import sqlalchemy as sa
from alembic import command
from sqlalchemy.dialects import postgresql as pg

from railhead.dsn import Dsn
from railhead.history import naming
from railhead.operations.names import REPEATABLE
from railhead.project import OWN_TABLES
from railhead.state import ledger
from tests.databases import rows_of
from tests.desk import Desk
from tests.forked_tree import Workshop
from tests.project.models import NAMES, Base
from tests.project_tree import ROOT


@pytest.fixture(scope="module")
def engine() -> sa.Engine:
    """One for all desks: what it has learnt of PostgreSQL, and the statements that it has compiled, it keeps."""
    return sa.create_engine("postgresql+psycopg2://", poolclass=sa.NullPool)


@pytest.fixture
def desk(tmp_path: Path, database: Dsn, engine: sa.Engine) -> Iterator[Desk]:
    """A desk with an empty revision folder."""
    desk = Desk(tmp_path / "migrations", database, engine)
    yield desk
    desk.leave()


Item = sa.schema.SchemaItem | Callable[[], sa.schema.SchemaItem]
Build = Callable[[sa.MetaData], object]


class Case(NamedTuple):
    """One kind of change: models before and after, and the calls that its upgrades must hold, file by file."""

    before: Build
    after: Build
    calls: list[list[str]]
    back: list[list[str]] | None = None
    """The downgrades' calls, file by file; not looked at when it is None."""
    unavoidable: str | None = None
    """Why PostgreSQL cannot do this without stopping the table."""
    edit: tuple[str, str] | None = None
    """What the developer must decide: a pattern in the files and what to write there."""
    rows: bool = True
    named: bool = True
    """Whether the models name their constraints by a convention."""


def task(*items: Item, **options: object) -> Build:
    """A table `task` with an id, a title and these."""

    def build(metadata: sa.MetaData) -> None:
        columns = [sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True), sa.Column("title", sa.Text)]
        sa.Table("task", metadata, *columns, *(item() if callable(item) else item._copy() for item in items), **options)  # type: ignore[attr-defined,arg-type]

    return build


def indexed(*parts: object, name: str = "ix_task_it", **options: object) -> Build:
    """A table `task` with a few columns and one index."""

    def build(metadata: sa.MetaData) -> None:
        task(sa.Column("price", sa.Integer), sa.Column("tags", pg.JSONB), sa.Column("kind", sa.Text))(metadata)
        table = metadata.tables["task"]
        columns = [getattr(table.c, part) if isinstance(part, str) else part(table.c) for part in parts]  # type: ignore[operator]
        sa.Index(name, *columns, **options)

    return build


def both(*builds: Build) -> Build:
    """Several tables."""

    def build(metadata: sa.MetaData) -> None:
        for one in builds:
            one(metadata)

    return build


def table(name: str, *items: Item, **options: object) -> Build:
    """Any table."""

    def build(metadata: sa.MetaData) -> None:
        sa.Table(name, metadata, *(item() if callable(item) else item._copy() for item in items), **options)  # type: ignore[attr-defined,arg-type]

    return build


def nothing(_metadata: sa.MetaData) -> None:
    """No table."""


def C(name: str, type_: object, *items: object, **options: object) -> sa.Column[object]:  # noqa: N802
    """A column, in few letters."""
    return sa.Column(name, type_, *items, **options)  # type: ignore[call-overload,no-any-return]


kept = table("kept", C("id", sa.BigInteger, primary_key=True))
project = table("project", C("id", sa.BigInteger, primary_key=True), C("name", sa.Text))
price, price_not_null = C("price", sa.Integer), C("price", sa.Integer, nullable=False)
STATUS = ("todo", "doing", "done")


def status(*values: str, **options: object) -> sa.Column[object]:
    """An enum column."""
    return C("status", sa.Enum(*values, name="task_status"), **options)


def pair(metadata: sa.MetaData) -> None:
    """A table with a key of two columns."""
    sa.Table(
        "pair",
        metadata,
        sa.Column("project_id", sa.BigInteger, primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
    )


def check(text: str) -> sa.CheckConstraint:
    """A named check."""
    return sa.CheckConstraint(text, name="price_sane")


def key(**options: object) -> sa.Column[object]:
    """A foreign key to project."""
    return C("project_id", sa.BigInteger, sa.ForeignKey("project.id", **options))  # type: ignore[arg-type]


def circle(**options: object) -> Build:
    """Two tables that refer to each other; the options are those of one key."""
    egg_id = C("egg_id", sa.BigInteger, sa.ForeignKey("egg.id", **options))  # type: ignore[arg-type]
    hen_id = C("hen_id", sa.BigInteger, sa.ForeignKey("hen.id"))
    return both(
        table("hen", C("id", sa.BigInteger, primary_key=True), egg_id),
        table("egg", C("id", sa.BigInteger, primary_key=True), hen_id),
    )


CONCURRENTLY, NOT_CONCURRENTLY = [["create_index_concurrently"]], [["drop_index_concurrently"]]

OTHER_INDEX = [["drop_index_concurrently", "create_index_concurrently"]]

REPLACED = [["create_index_concurrently"]]

CASES = {
    "column, nullable": Case(task(), task(price), [["add_column"]], [["drop_column"]]),
    "column dropped": Case(task(price), task(), [["drop_column"]], [["add_column"]]),
    "column, constant default": Case(
        task(), task(C("price", sa.Integer, server_default="7", nullable=False)), [["add_column"]]
    ),
    "column, default now()": Case(
        task(),
        task(C("made", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False)),
        [["add_column"]],
    ),
    "column, default written for each row": Case(
        task(),
        task(C("token", sa.Uuid, server_default=sa.func.gen_random_uuid(), nullable=False)),
        [["add_column", "alter_column"], ["backfill", "set_not_null"]],
        [["drop_column"], ["drop_not_null"]],
    ),
    "column, NOT NULL": Case(
        task(),
        task(price_not_null),
        [["add_column"], ["backfill", "set_not_null"]],
        [["drop_column"], ["drop_not_null"]],
    ),
    "column, NOT NULL, default in Python": Case(
        task(),
        task(C("price", sa.Integer, default=5, nullable=False)),
        [["add_column"], ["backfill", "set_not_null"]],
    ),
    "column, NOT NULL and unique": Case(
        task(),
        task(C("code", sa.Text, nullable=False, unique=True)),
        [["add_column"], ["backfill", "set_not_null", "create_unique_constraint_concurrently"]],
        edit=(r'# (op\.backfill\("task", "code = )\.\.\."', r"""\1'x' || id" """),
    ),
    "column dropped, NOT NULL": Case(
        task(price_not_null),
        task(),
        [["drop_not_null"], ["drop_column"]],
        [["backfill", "set_not_null"], ["add_column"]],
    ),
    "column, foreign key": Case(
        both(project, task()),
        both(project, task(key())),
        [["add_column"], ["create_foreign_key_not_valid", "validate_constraint"]],
        [["drop_column"], ["drop_constraint_if_exists"]],
    ),
    "column, indexed": Case(task(), task(C("price", sa.Integer, index=True)), [["add_column"], *CONCURRENTLY]),
    "column, indexed, dropped": Case(
        task(C("price", sa.Integer, index=True)), task(), [*NOT_CONCURRENTLY, ["drop_column"]]
    ),
    "column, enum": Case(task(), task(status(*STATUS)), [["execute", "add_column"]], [["drop_column", "execute"]]),
    "column, enum, NOT NULL": Case(
        task(), task(status(*STATUS, nullable=False)), [["execute", "add_column"], ["backfill", "set_not_null"]]
    ),
    "column, enum dropped": Case(task(status(*STATUS)), task(), [["drop_column", "execute"]]),
    "column, array": Case(
        task(), task(C("tags", pg.ARRAY(sa.Text), server_default="{}", nullable=False)), [["add_column"]]
    ),
    "column, jsonb": Case(task(), task(C("data", pg.JSONB, server_default="{}", nullable=False)), [["add_column"]]),
    "column, json": Case(task(), task(C("data", sa.JSON, server_default="{}", nullable=False)), [["add_column"]]),
    "column, identity": Case(
        task(),
        task(C("number", sa.BigInteger, sa.Identity(always=True), nullable=False)),
        [["add_column"]],
        unavoidable="each row gets a number of its own, and no column becomes an identity without NOT NULL",
    ),
    "column, computed": Case(
        task(price),
        task(price, C("twice", sa.Integer, sa.Computed("price * 2", persisted=True))),
        [["add_column"]],
        unavoidable="PostgreSQL computes a stored column for every row when it is added",
    ),
    "renamed column": Case(
        task(price), task(C("cost", sa.Integer)), [["add_column", "drop_column"]], [["add_column", "drop_column"]]
    ),
    "NOT NULL": Case(task(price), task(price_not_null), [["set_not_null"]], [["drop_not_null"]]),
    "NOT NULL, default in Python": Case(
        task(price), task(C("price", sa.Integer, default=5, nullable=False)), [["backfill", "set_not_null"]]
    ),
    "NULL allowed": Case(task(price_not_null), task(price), [["drop_not_null"]], [["set_not_null"]]),
    "default with a quote": Case(
        task(C("name", sa.Text, server_default="it's: 100%")),
        task(C("name", sa.Text, server_default="it's: 99%")),
        [["alter_column"]],
    ),
    "default set": Case(task(price), task(C("price", sa.Integer, server_default="7")), [["alter_column"]]),
    "default changed": Case(
        task(C("price", sa.Integer, server_default="7")),
        task(C("price", sa.Integer, server_default="8")),
        [["alter_column"]],
    ),
    "default dropped": Case(task(C("price", sa.Integer, server_default="7")), task(price), [["alter_column"]]),
    "type wider, varchar": Case(
        task(C("name", sa.String(10))), task(C("name", sa.String(20))), [["alter_column"]], [["alter_column"]]
    ),
    "type wider, varchar, with a check": Case(
        task(C("name", sa.String(10)), check("length(name) < 9")),
        task(C("name", sa.String(20)), check("length(name) < 9")),
        [["alter_column"]],
        [["alter_column"]],
        unavoidable="PostgreSQL makes sure of the check again; the comment gives the way for a large table",
    ),
    "type varchar to text": Case(task(C("name", sa.String(10))), task(C("name", sa.Text)), [["alter_column"]]),
    "type integer to bigint": Case(
        task(price),
        task(C("price", sa.BigInteger)),
        [["alter_column"]],
        unavoidable="the two differ in size, so every row is written; the comment gives the way for a large table",
    ),
    "type text to integer": Case(
        task(C("number", sa.Text)),
        task(C("number", sa.Integer)),
        [["alter_column"]],
        unavoidable="every value is converted",
    ),
    "type text to enum": Case(
        task(C("status", sa.Text, server_default="todo")),
        task(status(*STATUS, server_default="todo")),
        [["execute", "alter_column", "alter_column", "alter_column"]],
        unavoidable="every value is converted",
    ),
    "type and default and NOT NULL": Case(
        task(C("price", sa.Integer, server_default="1")),
        task(C("price", sa.Numeric(10, 2), server_default="2", nullable=False)),
        [["alter_column", "alter_column"], ["backfill", "set_not_null"]],
        unavoidable="every value is converted",
    ),
    "identity from nothing": Case(
        task(C("number", sa.BigInteger, nullable=False)),
        task(C("number", sa.BigInteger, sa.Identity(), nullable=False)),
        [["alter_column"]],
    ),
    "identity always": Case(
        task(C("number", sa.BigInteger, sa.Identity(), nullable=False)),
        task(C("number", sa.BigInteger, sa.Identity(always=True), nullable=False)),
        [["alter_column"]],
    ),
    "identity dropped": Case(
        task(C("number", sa.BigInteger, sa.Identity(), nullable=False)),
        task(C("number", sa.BigInteger, nullable=False)),
        [["alter_column"]],
    ),
    "comment on column dropped": Case(
        task(C("price", sa.Integer, comment="in cents")), task(price), [["alter_column"]], [["alter_column"]]
    ),
    "comment on table dropped": Case(
        task(comment="what is to be done"), task(), [["drop_table_comment"]], [["create_table_comment"]]
    ),
    "comment on column": Case(task(price), task(C("price", sa.Integer, comment="in 'cents'")), [["alter_column"]]),
    "comment on table": Case(
        task(), task(comment="what is to be done"), [["create_table_comment"]], [["drop_table_comment"]]
    ),
    "index": Case(task(price), task(C("price", sa.Integer, index=True)), CONCURRENTLY, NOT_CONCURRENTLY),
    "index dropped": Case(task(C("price", sa.Integer, index=True)), task(price), NOT_CONCURRENTLY, CONCURRENTLY),
    "index changed": Case(indexed("price"), indexed("price", "kind"), REPLACED),
    "index, other predicate": Case(
        indexed("price", postgresql_where=sa.text("kind = 'a'")),
        indexed("price", postgresql_where=sa.text("kind = 'b%'")),
        REPLACED,
        REPLACED,
    ),
    "index, no longer partial": Case(
        indexed("price", postgresql_where=sa.text("kind = 'a'")), indexed("price"), REPLACED
    ),
    "index, covers more": Case(indexed("price"), indexed("price", postgresql_include=["kind"]), REPLACED),
    "index, other kind": Case(indexed("price"), indexed("price", postgresql_using="hash"), REPLACED),
    "index on several columns": Case(indexed("price", name="ix_old"), indexed("price", "kind"), OTHER_INDEX),
    "index, unique": Case(indexed("price", name="ix_old"), indexed("title", unique=True), OTHER_INDEX),
    "index, partial": Case(
        indexed("price", name="ix_old"),
        indexed("price", postgresql_where=sa.text(r"kind <> 'a%%\:b' AND kind NOT LIKE '%:c'")),
        OTHER_INDEX,
    ),
    "index on an expression": Case(
        indexed("price", name="ix_old"), indexed(lambda c: sa.func.lower(c.kind)), OTHER_INDEX
    ),
    "index, descending": Case(
        indexed("price", name="ix_old"), indexed(lambda c: c.price.desc().nulls_last()), OTHER_INDEX
    ),
    "index, gin": Case(indexed("price", name="ix_old"), indexed("tags", postgresql_using="gin"), OTHER_INDEX),
    "index, operator class": Case(
        indexed("price", name="ix_old"),
        indexed("kind", postgresql_ops={"kind": "text_pattern_ops"}),
        OTHER_INDEX,
    ),
    "index, other collation": Case(indexed("kind"), indexed(lambda c: c.kind.collate("C")), REPLACED),
    "index, covering": Case(
        indexed("price", name="ix_old"), indexed("price", postgresql_include=["kind"]), OTHER_INDEX
    ),
    "unique": Case(
        task(price),
        task(price, lambda: sa.UniqueConstraint("price")),
        [["create_unique_constraint_concurrently"]],
        [["drop_constraint_if_exists"]],
    ),
    "unique dropped": Case(
        task(price, lambda: sa.UniqueConstraint("price")),
        task(price),
        [["drop_constraint_if_exists"]],
        [["create_unique_constraint_concurrently"]],
    ),
    "unique, deferrable": Case(
        task(price),
        task(price, lambda: sa.UniqueConstraint("price", deferrable=True, initially="DEFERRED")),
        [["create_unique_constraint_concurrently"]],
    ),
    "unique, deferrable under the same name": Case(
        task(price, lambda: sa.UniqueConstraint("price")),
        task(price, lambda: sa.UniqueConstraint("price", deferrable=True, initially="DEFERRED")),
        [["create_unique_constraint_concurrently"]],
    ),
    "unique, NULL once only": Case(
        task(price),
        task(price, lambda: sa.UniqueConstraint("price", postgresql_nulls_not_distinct=True)),
        [["create_unique_constraint_concurrently"]],
        [["drop_constraint_if_exists"]],
    ),
    "unique on two columns": Case(
        task(price),
        task(price, lambda: sa.UniqueConstraint("price", "title")),
        [["create_unique_constraint_concurrently"]],
        [["drop_constraint_if_exists"]],
    ),
    "check": Case(
        task(price),
        task(price, check("price >= 0")),
        [["create_check_constraint_not_valid", "validate_constraint"]],
        [["drop_constraint_if_exists"]],
    ),
    "check changed": Case(
        task(price, check("price >= 0")),
        task(price, check("price >= 1 AND price <> 7")),
        [["create_check_constraint_not_valid", "validate_constraint"]],
        [["create_check_constraint_not_valid", "validate_constraint"]],
    ),
    "check changed, on a new column": Case(
        task(price, check("price >= 0")),
        task(price, C("least", sa.Integer), check("price >= least")),
        [["add_column"], ["create_check_constraint_not_valid", "validate_constraint"]],
    ),
    "check with percent signs and colons": Case(
        task(),
        task(
            sa.CheckConstraint(r"title NOT LIKE '%%a%' AND title <> '\:b' AND title\:\:text <> 'c'", name="title_sane")
        ),
        [["create_check_constraint_not_valid", "validate_constraint"]],
    ),
    "check dropped": Case(
        task(price, check("price >= 0")),
        task(price),
        [["drop_constraint_if_exists"]],
        [["create_check_constraint_not_valid", "validate_constraint"]],
    ),
    "foreign key": Case(
        both(project, task(C("project_id", sa.BigInteger))),
        both(project, task(key(ondelete="CASCADE"))),
        [["create_foreign_key_not_valid", "validate_constraint"]],
        [["drop_constraint_if_exists"]],
    ),
    "foreign key changed": Case(
        both(project, task(key())),
        both(project, task(key(ondelete="CASCADE"))),
        [["create_foreign_key_not_valid", "validate_constraint"]],
        [["create_foreign_key_not_valid", "validate_constraint"]],
    ),
    "foreign key dropped": Case(
        both(project, task(key())),
        both(project, task(C("project_id", sa.BigInteger))),
        [["drop_constraint_if_exists"]],
        [["create_foreign_key_not_valid", "validate_constraint"]],
    ),
    "foreign key, deferrable": Case(
        both(project, task(C("project_id", sa.BigInteger))),
        both(project, task(key(deferrable=True, initially="DEFERRED"))),
        [["create_foreign_key_not_valid", "validate_constraint"]],
    ),
    "foreign key on two columns": Case(
        both(project, pair, task(C("project_id", sa.BigInteger), C("number", sa.Integer))),
        both(
            project,
            pair,
            task(
                C("project_id", sa.BigInteger),
                C("number", sa.Integer),
                lambda: sa.ForeignKeyConstraint(["project_id", "number"], ["pair.project_id", "pair.number"]),
            ),
        ),
        [["create_foreign_key_not_valid", "validate_constraint"]],
        [["drop_constraint_if_exists"]],
    ),
    "foreign key to itself": Case(
        task(C("parent_id", sa.BigInteger)),
        task(C("parent_id", sa.BigInteger, sa.ForeignKey("task.id"))),
        [["create_foreign_key_not_valid", "validate_constraint"]],
    ),
    "constraints without a name": Case(
        both(project, task(price, C("project_id", sa.BigInteger))),
        both(project, task(price, key(), lambda: sa.UniqueConstraint("price"))),
        [["create_unique_constraint_concurrently", "create_foreign_key_not_valid", "validate_constraint"]],
        [["drop_constraint_if_exists", "drop_constraint_if_exists"]],
        named=False,
    ),
    "partitioned table, foreign key": Case(
        both(project, task(C("project_id", sa.BigInteger), postgresql_partition_by="HASH (id)")),
        both(project, task(key(), postgresql_partition_by="HASH (id)")),
        [["create_foreign_key"]],
        unavoidable="PostgreSQL adds this to a partitioned table at once or not at all",
    ),
    "enum value added": Case(task(status(*STATUS)), task(status(*STATUS, "late")), [["execute"]]),
    "enum value added in the middle, and its use": Case(
        task(status(*STATUS)),
        task(status("new", "todo", "blocked", "doing", "done", server_default="blocked")),
        [["execute", "execute"], ["alter_column"]],
    ),
    "enum value renamed": Case(
        task(status(*STATUS)),
        task(status("open", "doing", "done")),
        [["execute"]],
        [["execute"]],
        edit=(
            r"(?s)op\.sync_enum_values\(.*?\n    \)(.*)op\.sync_enum_values\(.*?\n    \)",
            (
                r"""op.execute("ALTER TYPE task_status RENAME VALUE 'todo' TO 'open'")\1"""
                r"""op.execute("ALTER TYPE task_status RENAME VALUE 'open' TO 'todo'")"""
            ),
        ),
    ),
    "enum value dropped": Case(
        task(status(*STATUS, "late")),
        task(status(*STATUS)),
        [["sync_enum_values"]],
        unavoidable="PostgreSQL cannot take a value out of an enum",
    ),
    "table": Case(task(), both(task(), project), [["create_table"]], [["drop_table"]]),
    "table with everything": Case(
        project,
        both(
            project, task(key(), status(*STATUS), C("price", sa.Integer, index=True, unique=True), check("price > 0"))
        ),
        [["execute", "create_table", "create_index"]],
        [["drop_index", "drop_table", "execute"]],
    ),
    "table dropped": Case(both(task(), project), task(), [["drop_table"]], [["create_table"]]),
    "tables dropped that refer to each other": Case(
        both(kept, project, task(key())), kept, [["drop_table"], ["drop_table"]], [["create_table"], ["create_table"]]
    ),
    "tables that refer to each other in a circle": Case(
        nothing,
        circle(use_alter=True),
        [["create_table", "create_table", "create_foreign_key"]],
        [["drop_constraint", "drop_table", "drop_table"]],
    ),
    "tables that refer to each other in a circle, without a word about it": Case(
        nothing,
        circle(),
        [["create_table", "create_table", "create_foreign_key", "create_foreign_key"]],
        [["drop_constraint", "drop_constraint", "drop_table", "drop_table"]],
    ),
    "tables dropped that refer to each other in a circle": Case(
        both(kept, circle()),
        kept,
        [["drop_constraint_if_exists", "drop_constraint_if_exists"], ["drop_table"], ["drop_table"]],
        rows=False,
    ),
    "key that says use_alter to a table that is there": Case(
        project,
        both(project, task(C("project_id", sa.BigInteger, sa.ForeignKey("project.id", name="fk", use_alter=True)))),
        [["create_table", "create_foreign_key"]],
    ),
    "tables dropped, with a type that one of them uses": Case(
        both(kept, project, task(key(), status(*STATUS))),
        kept,
        [["drop_table"], ["drop_table", "execute"]],
        [["create_table"], ["execute", "create_table"]],
    ),
    "sample replaced by tables of one's own": Case(
        both(project, task(key(), status(*STATUS), C("price", sa.Integer, index=True))),
        both(
            table("shelf", C("id", sa.BigInteger, primary_key=True)),
            table("book", C("id", sa.BigInteger, primary_key=True), C("kind", sa.Enum("novel", "poem", name="kind"))),
        ),
        [["execute", "create_table", "create_table", "drop_index", "drop_table"], ["drop_table", "execute"]],
    ),
    "table dropped that another refers to": Case(
        both(project, task(key())),
        task(C("project_id", sa.BigInteger)),
        [["drop_constraint_if_exists"], ["drop_table"]],
        [["create_foreign_key_not_valid", "validate_constraint"], ["create_table"]],
        rows=False,  # on the way back the table is empty, and tasks must not refer to what is no more
    ),
    "renamed table": Case(
        project,
        table("board", C("id", sa.BigInteger, primary_key=True), C("name", sa.Text)),
        [["create_table", "drop_table"]],
    ),
    "several tables at once": Case(
        both(project, task()),
        both(
            table("project", C("id", sa.BigInteger, primary_key=True), C("name", sa.Text), price),
            task(key(), C("price", sa.Integer, index=True)),
        ),
        [
            ["add_column"],
            ["add_column", "add_column"],
            [*CONCURRENTLY[0], "create_foreign_key_not_valid", "validate_constraint"],
        ],
    ),
    "names in mixed case": Case(
        table("Order Line", C("Id", sa.BigInteger, primary_key=True), C("Old Price", sa.Integer)),
        table(
            "Order Line",
            C("Id", sa.BigInteger, primary_key=True),
            C("Old Price", sa.Integer, nullable=False, unique=True),
            C("New Price", sa.Integer, nullable=False, index=True),
            sa.CheckConstraint('"New Price" < 100', name="Cheap"),
        ),
        [
            ["add_column"],
            [
                "backfill",
                "set_not_null",
                "set_not_null",
                "create_index_concurrently",
                "create_unique_constraint_concurrently",
                "create_check_constraint_not_valid",
                "validate_constraint",
            ],
        ],
    ),
    "partitioned table, index": Case(
        task(price, postgresql_partition_by="HASH (id)"),
        task(C("price", sa.Integer, index=True), postgresql_partition_by="HASH (id)"),
        CONCURRENTLY,
        NOT_CONCURRENTLY,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_change_runs_up_down_and_up_on_rows_and_leaves_no_difference(desk: Desk, name: str) -> None:
    """The files of one autogenerate lead to exactly the new models and back, blocking nobody, and hold verbs or no verbs."""
    case = CASES[name]
    before, after = (metadata(build, named=case.named) for build in (case.before, case.after))
    create(desk, after)
    wanted = desk.catalog()
    after.drop_all(desk.engine)
    create(desk, before)
    there = desk.catalog()
    if case.rows:
        fill(desk.engine, before)

    files = desk.revision(after, name)
    if case.edit:
        edited(desk, files, *case.edit)

    assert [calls(desk.text(file), "upgrade") for file in files] == case.calls
    if case.back is not None:
        assert [calls(desk.text(file), "downgrade") for file in files] == case.back
    assert_unmixed(desk, files)
    desk.said.clear()
    desk.upgrade()
    blocked = blocking(desk.said, before.tables)
    assert bool(blocked) == bool(case.unavoidable), blocked
    assert desk.catalog() == wanted
    assert desk.differences(after) == []
    desk.downgrade()
    assert desk.catalog() == there
    desk.upgrade()
    assert desk.catalog() == wanted
    assert desk.revision(after) == []


def test_there_are_at_least_forty_kinds_of_change() -> None:
    """The promise is for every kind of change that models can express, not for the easy ones."""
    assert len(CASES) >= 40


def test_nothing_is_written_when_nothing_has_changed(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """On the schema of this project, with all its kinds of things, autogenerate writes no file and says so."""
    caplog.set_level("INFO", "railhead")
    Base.metadata.create_all(desk.engine)
    assert desk.revision(Base.metadata) == []
    assert "there is nothing to write a revision for" in caplog.text
    assert desk.differences(Base.metadata) == []


def test_check_sees_the_plain_proposal(desk: Desk) -> None:
    """`alembic check` lists what models.py has and the database has not, in Alembic's own terms."""
    metadata(task()).create_all(desk.engine)
    [[difference]] = [desk.differences(metadata(task(price)))]
    assert difference[0:3] == ("add_column", None, "task")  # type: ignore[index]


def test_partitions_are_no_difference(desk: Desk) -> None:
    """A partition is part of its table, though the models do not speak of it: autogenerate never drops it with its rows."""
    models = metadata(task(price, postgresql_partition_by="HASH (id)"))
    create(desk, models)
    assert desk.revision(models) == []
    assert desk.differences(models) == []


def test_checks_without_a_name_are_written_and_never_dropped(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """Wherever they stand in the models; a warning says that nobody compares them. One with a name goes when the models drop it."""
    kind = sa.Enum("a", "b", native_enum=False, create_constraint=True)

    def models(*more: sa.CheckConstraint) -> sa.MetaData:
        one = sa.MetaData()
        count = sa.Column("count", sa.Integer, sa.CheckConstraint("count > 5"))
        columns = [sa.Column("n", sa.Integer), sa.Column("kind", kind.copy()), count]
        sa.Table("thing", one, *columns, sa.CheckConstraint("n > 0"), *more)
        return one

    desk.revision(models(sa.CheckConstraint("n < 99", name="ck_thing_n")))
    desk.upgrade()
    checks = "SELECT conname FROM pg_constraint WHERE conrelid = 'thing'::regclass AND contype = 'c' ORDER BY 1"
    given = [("thing_count_check",), ("thing_kind_check",), ("thing_n_check",)]
    assert rows_of(desk.database, checks) == [("ck_thing_n",), *given]
    assert "checks without a name" in caplog.text
    desk.revision(models())
    desk.upgrade()
    assert rows_of(desk.database, checks) == given


def test_own_tables_are_no_difference(desk: Desk) -> None:
    """The ledger and Alembic's version table belong to the engine: autogenerate never drops them."""
    assert {ledger.TABLE, "alembic_version"} == OWN_TABLES
    rows_of(desk.database, f"CREATE TABLE {ledger.TABLE} (id int)")
    assert desk.revision(sa.MetaData()) == []


def test_numbers_go_on_behind_the_highest_in_use(desk: Desk) -> None:
    """Every branch counts; Alembic's own ids do not."""
    assert desk.revision(None, "First of all") == ["0001_first_of_all"]
    assert desk.revision(None, "with an id", rev_id="0041_given") == ["0041_given"]
    assert desk.revision(None, "like Alembic's own", rev_id="1975ea83b712") == ["1975ea83b712"]
    assert desk.revision(None, "a branch", head="0001_first_of_all", splice=True) == ["0042_a_branch"]
    assert desk.revision(None, "2FA for members", head="0042_a_branch") == ["0043_2fa_for_members"]
    assert desk.revision(None, "another", head="0043_2fa_for_members") == ["0044_another"]


@pytest.mark.parametrize(
    ("message", "revision"),
    [
        ("Add due date", "0007_add_due_date"),
        ("Übermäßig große Änderung!", "0007_ubermassig_grosse_anderung"),
        ("A task can have a due date and more", "0007_a_task_can_have_a_due_date"),
        ("Donaudampfschifffahrtsgesellschaft", "0007_donaudampfschifffahrtsgesel"),
        ("中文", "0007_change"),
        ("", "0007_change"),
    ],
)
def test_id_is_words_and_never_a_bare_number(message: str, revision: str) -> None:
    """An id fits alembic_version's 32 characters, is plain ASCII, and is cut at a word where there is one."""
    assert naming.revision_id(7, message) == revision
    assert len(revision) <= naming.ID_LENGTH


def test_id_comes_from_the_change_when_nobody_gave_a_message(desk: Desk) -> None:
    """Without `-m` the name says what the file does."""
    metadata(task()).create_all(desk.engine)
    assert desk.revision(metadata(task(price))) == ["0001_add_task_price"]
    assert desk.text("0001_add_task_price").startswith('"""Add task price\n')


def test_given_id_is_kept_and_its_followers_count_on(desk: Desk) -> None:
    """`--rev-id` names the first file; the others get the numbers behind it."""
    metadata(task()).create_all(desk.engine)
    assert desk.revision(metadata(task(price_not_null)), "price", rev_id="0100_mine") == [
        "0100_mine",
        "0101_price_finish",
    ]


def test_files_of_one_command_follow_each_other(desk: Desk) -> None:
    """Each file stands on the one before, says which part of the whole it is, and which tables it is about."""
    metadata(both(project, task())).create_all(desk.engine)
    after = both(project, task(key(), price_not_null))
    assert desk.revision(metadata(after), "Give tasks a project") == [
        "0001_give_tasks_a_project",
        "0002_give_tasks_a_project_finish",
    ]
    second = desk.text("0002_give_tasks_a_project_finish")
    assert '"""Give tasks a project (2 of 2)\n' in second
    assert 'revision = "0002_give_tasks_a_project_finish"\ndown_revision = "0001_give_tasks_a_project"\n' in second
    assert "Tables: task (outside a transaction: safe to run again, and traffic goes on meanwhile)\n" in second


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ("renamed column", '    # op.alter_column("task", "price", new_column_name="cost")\n'),
        ("renamed table", '    # op.rename_table("project", "board")\n'),
        ("column, NOT NULL", "    # 0 is only a guess: which price is right for the rows that are there?\n"),
        ("column, NOT NULL, default in Python", '    op.backfill("task", "price = 5", "price IS NULL")\n'),
        ("type integer to bigint", "writes every row for this change of type while nobody can read or write task"),
        (
            "type integer to bigint",
            '    # op.backfill("task", "price_new = price", "price_new IS NULL AND price IS NOT NULL")\n',
        ),
        ("type text to integer", 'op.backfill("task", "number_new = number::text::INTEGER", '),
        ("enum value added in the middle, and its use", "ADD VALUE IF NOT EXISTS 'blocked' AFTER 'todo'"),
        ("enum value dropped", "# It fails while a row has 'late'"),
        ("type wider, varchar, with a check", '    # op.drop_constraint_if_exists("ck_task_price_sane", "task")\n'),
        ("identity from nothing", "max(number) FROM task"),
    ],
)
def test_file_says_what_the_developer_must_know(desk: Desk, case: str, said: str) -> None:
    """What cannot be seen from the models, or cannot be done without a stop, stands in the file as a comment, with the code."""
    metadata(CASES[case].before).create_all(desk.engine)
    assert said in "".join(map(desk.text, desk.revision(metadata(CASES[case].after))))


def test_files_are_as_the_tools_leave_them(desk: Desk) -> None:
    """What is generated passes the linter and the formatter of this project unchanged, with the imports that it needs only."""
    desk.revision(None, "by hand")
    cases = [
        "table with everything",
        "names in mixed case",
        "several tables at once",
        "enum value dropped",
        "type text to enum",
    ]
    for case in cases:
        desk.engine.dispose()
        rows_of(desk.database, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        command.stamp(desk.config, "heads")
        metadata(CASES[case].before).create_all(desk.engine)
        desk.revision(metadata(CASES[case].after), "Über " * 40 + case)
    settings = ["--config", str(ROOT / "pyproject.toml"), "--no-cache"]
    for check in (["check", "--ignore=INP001,D103,N999"], ["format", "--check"]):
        done = subprocess.run(
            [sys.executable, "-m", "ruff", *check, *settings, desk.versions], capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr


def test_command_line_writes_files_that_the_engine_applies_and_takes_back(at_head: Workshop) -> None:
    """Typed by hand on a fresh copy: models.py changes, the new files are written, applied, taken back, and all is current."""
    assert_done(at_head.alembic("revision", "--autogenerate", "-m", "nothing new"))
    assert not list(at_head.versions.glob("0003*"))
    models = at_head.root / "models.py"
    models.write_text(
        models.read_text().replace(
            "    due_on: Mapped[date | None]\n",
            "    due_on: Mapped[date | None] = mapped_column(index=True)\n    effort: Mapped[int]\n",
        )
    )
    assert_done(at_head.alembic("revision", "--autogenerate", "-m", "Effort of a task"))
    files = sorted(file.stem for file in at_head.versions.glob("000[3-9]*.py"))
    assert files == ["0003_effort_of_a_task", "0004_effort_of_a_task_finish"]
    for command_line in (["upgrade", "head"], ["check"], ["downgrade", "0002"], ["upgrade", "head"], ["check"]):
        assert_done(at_head.alembic(*command_line))
    assert_done(at_head.alembic("upgrade", "0002:head", "--sql"))


def assert_done(process: subprocess.CompletedProcess[str]) -> None:
    """Fail with what the process said unless it ended well."""
    assert process.returncode == 0, process.stdout + process.stderr


def metadata(build: Build, *, named: bool = True) -> sa.MetaData:
    """Return models."""
    made = sa.MetaData(naming_convention=NAMES if named else None)
    build(made)
    return made


def create(desk: Desk, models: sa.MetaData) -> None:
    """Make the tables, and two partitions of each that is partitioned."""
    models.create_all(desk.engine)
    for statement in partitions(models):
        rows_of(desk.database, statement)


def partitions(models: sa.MetaData) -> Iterator[str]:
    """Yield the statements that make them."""
    for one in models.tables.values():
        if one.dialect_options["postgresql"]["partition_by"]:
            for rest in (0, 1):
                part = f'"{one.name}_{rest}" PARTITION OF "{one.name}"'
                yield f"CREATE TABLE {part} FOR VALUES WITH (MODULUS 2, REMAINDER {rest})"


def fill(engine: sa.Engine, models: sa.MetaData) -> None:
    """Put three rows into each table."""
    with engine.begin() as connection:
        for one in models.sorted_tables:
            for number in range(1, 4):
                row = {column.name: value(column, number) for column in one.columns if needs_value(column)}
                connection.execute(sa.insert(one).values(row))


def needs_value(column: sa.Column[object]) -> bool:
    """Tell whether the database does not make a value by itself."""
    return not isinstance(column.server_default, sa.Identity | sa.Computed)


def value(column: sa.Column[object], number: int) -> object:
    """Return a value for row `number`."""
    match column.type:
        case sa.Enum():
            return STATUS[number - 1]
        case sa.Uuid():
            return uuid.uuid4()
        case sa.String():
            return str(number) if column.name != "status" else STATUS[number - 1]
        case pg.JSONB() | sa.JSON():
            return {"number": number}
        case sa.DateTime():
            return sa.func.now()
        case sa.ARRAY():
            return [str(number)]
    return number


def calls(text: str, direction: str) -> list[str]:
    """Return which methods of `op` a direction calls, in order."""
    body = text.partition(f"def {direction}()")[2].partition("\ndef ")[0]
    lines = [line for line in body.splitlines() if not line.lstrip().startswith("#")]
    return [name for name in re.findall(r"\bop\.(\w+)\(", "\n".join(lines)) if name != "f"]


def edited(desk: Desk, files: list[str], pattern: str, replacement: str) -> None:
    """Do what the comment in the file asks of the developer."""
    texts = {file: desk.text(file) for file in files}
    changed = {file: re.sub(pattern, replacement, text) for file, text in texts.items()}
    assert changed != texts
    for file, text in changed.items():
        (desk.versions / f"{file}.py").write_text(text)


def assert_unmixed(desk: Desk, files: list[str]) -> None:
    """A file holds verbs that may be run again, or work that is rolled back as a whole; never both."""
    for file in files:
        used = {*calls(desk.text(file), "upgrade"), *calls(desk.text(file), "downgrade")}
        assert used <= REPEATABLE or not used & REPEATABLE


def blocking(said: list[str], tables: Iterable[str]) -> list[str]:
    """Return what PostgreSQL did with existing tables under a lock that stops their traffic."""
    found, statement = [], ""
    for one in said:
        if one.startswith("> "):
            statement = one
        work = re.search(
            r'(rewriting table|building index|verifying table|validating foreign key)[^"]*("[^"]+")(.*)', one
        )
        harmless = re.search("CONCURRENTLY|VALIDATE CONSTRAINT", statement)
        of_table = r'"{0}(_[01])?"|"fk_{0}_'  # the table, one of its parts, or a foreign key of it
        if work and not harmless and any(re.search(of_table.format(name), work[2] + work[3]) for name in tables):
            found.append(f"{statement}: {one}")
    return found


def kinds() -> Iterator[str]:
    """Yield the kinds of change as the rows of a table: what is written, file by file, and why it blocks, if it does."""
    yield "| Change in models.py | What autogenerate writes | Stops the table |"
    yield "| --- | --- | --- |"
    for name, case in CASES.items():
        files = " → ".join(", ".join(f"`{call}`" for call in calls) for calls in case.calls)
        yield f"| {name} | {files} | {case.unavoidable or 'no'} |"


if __name__ == "__main__":  # python -m tests.engine.autogenerate.test_autogenerate
    print("\n".join(kinds()))
