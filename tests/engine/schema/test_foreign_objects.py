"""What is not ours: of an extension, or of another tool in the same database. It is neither dropped nor called drift, and told."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

from railhead.dsn import Dsn
from railhead.history.made_objects import _File
from tests.databases import rows_of
from tests.forked_tree import Workshop

SCHEDULER = (
    "CREATE TABLE apscheduler_jobs (id varchar(191) PRIMARY KEY, next_run_time float8, job_state bytea NOT NULL);"
    "CREATE INDEX ix_apscheduler_jobs_next_run_time ON apscheduler_jobs (next_run_time)"
)
CELERY = (
    "CREATE TABLE celery_taskmeta (id int PRIMARY KEY, task_id varchar(155) UNIQUE); CREATE SEQUENCE task_id_sequence"
)
PROCRASTINATE = (
    "CREATE TYPE procrastinate_job_status AS ENUM ('todo', 'doing', 'done');"
    "CREATE TABLE procrastinate_jobs (id bigserial PRIMARY KEY, status procrastinate_job_status NOT NULL DEFAULT 'todo');"
    "CREATE TABLE procrastinate_events (id bigserial PRIMARY KEY, job_id bigint REFERENCES procrastinate_jobs ON DELETE CASCADE);"
    "CREATE FUNCTION procrastinate_notify() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';"
    "CREATE TRIGGER procrastinate_notify AFTER INSERT ON procrastinate_jobs FOR EACH ROW EXECUTE FUNCTION procrastinate_notify();"
    "CREATE VIEW procrastinate_todo AS SELECT id FROM procrastinate_jobs"
)
OTHER_APPLICATION = (
    'CREATE TABLE "auth_User" (id int PRIMARY KEY); CREATE TABLE django_migrations (app text);'
    "CREATE SCHEMA billing; CREATE TABLE billing.task (id int PRIMARY KEY, title text)"
)
PARTITIONS = "CREATE TABLE metric (at date NOT NULL) PARTITION BY RANGE (at); CREATE TABLE metric_2026 PARTITION OF metric FOR VALUES FROM ('2026-01-01') TO ('2027-01-01')"
THEIRS = {
    "apscheduler": (SCHEDULER, "table apscheduler_jobs"),
    "celery": (CELERY, "table celery_taskmeta, sequence task_id_sequence"),
    "procrastinate": (
        PROCRASTINATE,
        (
            "table procrastinate_events, table procrastinate_jobs, enum procrastinate_job_status,"
            " function procrastinate_notify(), view procrastinate_todo"
        ),
    ),
    "another application": (
        OTHER_APPLICATION,
        'table billing.task, table "auth_User", table django_migrations, schema billing',
    ),
    "partitions": (PARTITIONS, "table metric"),
}
EXTENSIONS = {
    "a table": "CREATE TABLE spatial_ref_sys (srid int PRIMARY KEY); ALTER EXTENSION plpgsql ADD TABLE spatial_ref_sys",
    "an enum": "CREATE TYPE raster_kind AS ENUM ('a'); ALTER EXTENSION plpgsql ADD TYPE raster_kind",
    "a sequence": "CREATE SEQUENCE job_id; ALTER EXTENSION plpgsql ADD SEQUENCE job_id",
    "a function and a view": (
        "CREATE FUNCTION st_area(int) RETURNS int LANGUAGE sql AS 'SELECT 1'; ALTER EXTENSION plpgsql ADD FUNCTION st_area(int);"
        "CREATE VIEW geometry_columns AS SELECT 1 AS id; ALTER EXTENSION plpgsql ADD VIEW geometry_columns"
    ),
    "a schema": (
        "CREATE SCHEMA cron; ALTER EXTENSION plpgsql ADD SCHEMA cron;"
        "CREATE TABLE cron.job (id int); ALTER EXTENSION plpgsql ADD TABLE cron.job"
    ),
    "a partitioned table": (
        "CREATE TABLE template (at date) PARTITION BY RANGE (at); ALTER EXTENSION plpgsql ADD TABLE template;"
        "CREATE TABLE template_default PARTITION OF template DEFAULT; ALTER EXTENSION plpgsql ADD TABLE template_default"
    ),
}


def model(tree: Workshop, text: str) -> None:
    """Write one more model."""
    models = tree.root / "models.py"
    models.write_text(f"{models.read_text()}\n\n{text}")


def new_column(tree: Workshop) -> None:
    """Give the tasks one more column."""
    models = tree.root / "models.py"
    text = models.read_text()
    models.write_text(
        text.replace("due_on: Mapped[date | None]", "due_on: Mapped[date | None]\n    note: Mapped[str | None]")
    )


@pytest.mark.parametrize("tool", THEIRS)
def test_what_another_tool_made_is_left_alone_and_told(at_head: Workshop, database: Dsn, tool: str) -> None:
    """autogenerate, check, drift, doctor and status: nothing to do, one line with the names, and no DROP anywhere."""
    made, names = THEIRS[tool]
    rows_of(database, made)
    check, written = at_head.alembic("check"), at_head.alembic("revision", "--autogenerate", "-m", "x")
    tables = ", ".join(name.removeprefix("table ") for name in names.split(", ") if name.startswith("table "))
    tables = tables.replace("billing.task, ", "").replace('"', "")  # a schema that no model names is not looked at
    for ended in (check, written):
        assert ended.returncode == 0, ended.stderr
        assert f"left alone, because no revision makes them and no model knows them: {tables}\n" in ended.stderr
    assert len(list(at_head.versions.glob("*.py"))) == 2
    drift = at_head.migrate("drift")
    assert (drift.returncode, drift.stdout) == (
        0,
        (
            "changed outside the migrations: nothing\n\nmodels.py against the migrations: nothing\n\n"
            f"not ours, left alone: {names}\n"
        ),
    )
    assert json.loads(at_head.migrate("drift", "--json").stdout)["left_alone"] == names.split(", ")
    assert json.loads(at_head.migrate("status", "--json").stdout)["flags"] == []
    doctor = at_head.migrate("doctor")
    assert (doctor.returncode, doctor.stdout) == (
        0,
        f"no revision and no model names {names}  [left-alone]\n  next       nothing: they are left alone\n",
    )


@pytest.mark.parametrize("tool", THEIRS)
def test_a_revision_speaks_only_of_ours(at_head: Workshop, database: Dsn, tool: str) -> None:
    """Beside a change of the models nothing of theirs is in the file, nor in what takes it back."""
    rows_of(database, THEIRS[tool][0])
    new_column(at_head)
    ended = at_head.alembic("revision", "--autogenerate", "-m", "note")
    assert ended.returncode == 0, ended.stderr
    text = (at_head.versions / "0003_note.py").read_text()
    assert re.findall(r"op\.(\w+)\(", text) == ["add_column", "drop_column"]


@pytest.mark.parametrize("thing", EXTENSIONS)
def test_what_belongs_to_an_extension_is_not_even_told(at_head: Workshop, database: Dsn, thing: str) -> None:
    """It is no difference, no drift, no table that would be lost, and no part of what a schema looks like."""
    before = at_head.migrate("status", "--json").stdout
    rows_of(database, EXTENSIONS[thing])
    check, drift, doctor = at_head.alembic("check"), at_head.migrate("drift"), at_head.migrate("doctor")
    assert (check.returncode, "left alone" in check.stderr) == (0, False), check.stderr
    assert drift.stdout == "changed outside the migrations: nothing\n\nmodels.py against the migrations: nothing\n", (
        drift.stdout
    )
    assert doctor.stdout == "nothing found\n"
    assert json.loads(at_head.migrate("status", "--json").stdout)["flags"] == json.loads(before)["flags"]
    lost = at_head.migrate("reset", "--yes=no").stdout
    assert not re.search("spatial|cron|template", lost), lost


def test_an_extensions_table_is_not_ours_because_a_model_reads_it(at_head: Workshop, database: Dsn) -> None:
    """A model of PostGIS's spatial_ref_sys neither makes the table nor changes it."""
    rows_of(database, EXTENSIONS["a table"])
    model(
        at_head,
        "class Projection(Base):\n    __tablename__ = 'spatial_ref_sys'\n    srid: Mapped[int] = mapped_column(primary_key=True)\n    proj4text: Mapped[str]\n",
    )
    assert at_head.alembic("check").returncode == 0


def test_what_the_tool_changes_later_is_not_drift_either(at_head: Workshop, database: Dsn) -> None:
    """A run has kept the catalog with their table in it; their own migration then changes it, or takes it away."""
    rows_of(database, f"{CELERY}; CREATE TABLE kombu_queue (id int)")
    at_head.write("0003_note", 'op.add_column("task", sa.Column("note", sa.Text()))', after="0002_add_task_due_on")
    assert at_head.migrate().returncode == 0
    rows_of(database, "ALTER TABLE celery_taskmeta ADD result bytea; DROP TABLE kombu_queue")
    assert json.loads(at_head.migrate("drift", "--json").stdout)["outside"] == []
    told = at_head.migrate("drift").stdout
    assert (
        "not ours, left alone: table celery_taskmeta, sequence task_id_sequence" in told
        or "column celery_taskmeta.result" in told
    )
    assert "DROP" not in told


WAYS = {
    "by name": 'op.create_table("gone", sa.Column("id", sa.Integer()))',
    "in SQL": 'op.execute("CREATE TABLE IF NOT EXISTS public.gone (id int)")',
    "in a loop": 'for name in ("gone",):\n        op.create_table(name, sa.Column("id", sa.Integer()))',
    "by a new name": 'op.create_table("old", sa.Column("id", sa.Integer()))\nop.rename_table("old", "gone")',
    "by SQLAlchemy": 'sa.Table("gone", sa.MetaData(), sa.Column("id", sa.Integer())).create(op.get_bind())',
    "from a query": 'op.execute("CREATE TABLE gone AS SELECT 1 AS id")',
}


@pytest.mark.parametrize("way", WAYS)
def test_a_table_that_a_revision_made_is_dropped_when_no_model_knows_it_any_more(at_head: Workshop, way: str) -> None:
    """However the revision made it; and a change of it by hand is drift."""
    at_head.write("0003_gone", WAYS[way], after="0002_add_task_due_on")
    assert at_head.migrate().returncode == 0
    ended = at_head.alembic("revision", "--autogenerate", "-m", "drop")
    assert ended.returncode == 0, ended.stderr
    assert 'op.drop_table("gone")' in (at_head.versions / "0004_drop.py").read_text()
    assert at_head.database
    rows_of(at_head.database, "ALTER TABLE gone ADD note text")
    assert "column gone.note added" in at_head.migrate("drift").stdout


def test_a_table_that_a_revision_has_dropped_may_be_made_by_somebody_else(at_head: Workshop, database: Dsn) -> None:
    """What is there at head counts, not what was there once."""
    at_head.write("0003_gone", WAYS["by name"], after="0002_add_task_due_on")
    at_head.write("0004_drop", 'op.drop_table("gone")', after="0003_gone")
    assert at_head.migrate().returncode == 0
    rows_of(database, "CREATE TABLE gone (id int)")
    assert at_head.alembic("check").returncode == 0
    assert "not ours, left alone: table gone\n" in at_head.migrate("drift").stdout


def test_a_table_that_only_a_model_knows_is_drift_all_the_same(at_head: Workshop, database: Dsn) -> None:
    """It was made by hand, or by create_all: other databases will lack it."""
    rows_of(database, "CREATE TABLE memo (id bigint GENERATED BY DEFAULT AS IDENTITY CONSTRAINT pk_memo PRIMARY KEY)")
    model(
        at_head,
        "class Memo(Base):\n    __tablename__ = 'memo'\n    id: Mapped[int] = mapped_column(primary_key=True)\n",
    )
    ended = at_head.migrate("drift")
    assert (ended.returncode, "table memo added" in ended.stdout) == (1, True)
    assert json.loads(at_head.migrate("status", "--json").stdout)["flags"] == ["drifted"]


def test_env_py_names_more_that_is_left_alone(at_head: Workshop, database: Dsn) -> None:
    """Patterns, with or without a schema; whatever the revisions and the models say."""
    env = at_head.root / "migrations" / "env.py"
    env.write_text(
        env.read_text().replace("enter(context, models)", 'enter(context, models, ignore=["gone*", "mood", "old.*"])')
    )
    at_head.write(
        "0003_gone",
        'op.create_table("gone_for_good", sa.Column("id", sa.Integer()), sa.Column("mood", sa.Enum("x", name="mood")))\n'
        'op.execute("CREATE SCHEMA old")\nop.create_table("log", sa.Column("id", sa.Integer()), schema="old")',
        after="0002_add_task_due_on",
    )
    assert at_head.migrate().returncode == 0
    assert at_head.alembic("check").returncode == 0
    rows_of(
        database,
        "ALTER TABLE gone_for_good ADD note text; ALTER TABLE old.log ADD note text; DROP TABLE gone_for_good; DROP TYPE mood",
    )
    assert json.loads(at_head.migrate("drift", "--json").stdout)["outside"] == []


EMPTY = "from sqlalchemy import MetaData\n\n\nclass Base:\n    metadata = MetaData()\n"
PART = f"{EMPTY}\n\nfrom sqlalchemy import Column, Integer, Table\n\nTable('mail_queue', Base.metadata, Column('id', Integer))\n"


@pytest.mark.parametrize("models", [EMPTY, PART], ids=["no table", "others only"])
def test_models_that_were_not_imported_drop_nothing(at_head: Workshop, database: Dsn, models: str) -> None:
    """autogenerate, check and drift stop and say so; doctor finds it; no file is written."""
    (at_head.root / "models.py").write_text(models)
    for command in (("revision", "--autogenerate", "-m", "x"), ("check",)):
        ended = at_head.alembic(*command)
        assert (ended.returncode, "[models-not-imported]" in ended.stderr) == (3, True), ended.stderr
    drift = at_head.migrate("drift")
    assert (drift.returncode, "[models-not-imported]" in drift.stderr) == (3, True), drift.stderr
    assert "[models-not-imported]" in at_head.migrate("doctor").stdout
    assert len(list(at_head.versions.glob("*.py"))) == 2
    assert rows_of(database, "SELECT count(*) FROM task") == [(0,)]


def test_the_message_of_models_that_were_not_imported(at_head: Workshop) -> None:
    """The whole message."""
    (at_head.root / "models.py").write_text(EMPTY)
    assert at_head.alembic("check").stderr == (
        "alembic check stopped: the models know no table, as if they had not been imported\n\n"
        "  made       member, project, sign_in_attempt, task\n"
        "  models     models() in migrations/env.py gives them\n"
        "  database   unchanged\n\n"
        "  next       import there every module that defines a model, before the metadata is returned; to drop them all, write it by hand:\n"
        '             alembic revision -m "drop everything"                 [models-not-imported]\n'
    )


def test_a_constraint_of_ours_in_another_schema_is_looked_at_and_theirs_is_not(
    at_head: Workshop, database: Dsn
) -> None:
    """Doctor gives advice on our tables only."""
    at_head.write(
        "0003_archive",
        'op.execute("CREATE SCHEMA archive")\nop.create_table("note", sa.Column("id", sa.Integer()), schema="archive")',
        after="0002_add_task_due_on",
    )
    assert at_head.migrate().returncode == 0
    rows_of(database, f"{CELERY}; ALTER TABLE celery_taskmeta ADD CONSTRAINT theirs CHECK (id < 9) NOT VALID")
    rows_of(database, "ALTER TABLE archive.note ADD CONSTRAINT few CHECK (id < 9) NOT VALID")
    told = at_head.migrate("doctor").stdout
    assert "the constraint few of archive.note is NOT VALID: older rows were never looked at" in told
    assert 'op.validate_constraint("few", "note", schema="archive")' in told
    assert "theirs" not in told


FILES = [
    ('def upgrade():\n  op.create_table("task", sa.Column("s", sa.Enum("a", name="st")))', {"task", "st"}),
    ('def upgrade():\n  op.create_table(table_name=op.f("task"), schema=tenant)', {"*.task"}),
    ('def upgrade():\n  op.rename_table("old", "new", schema="s")', {"-s.old", "s.new"}),
    ('T = "jobs"\nSQL = f"CREATE TABLE {T} (id int)"\ndef upgrade():\n  op.execute(SQL)\ndef downgrade():\n  op.execute("CREATE TABLE gone ()")', {"jobs"}),
    ('def make(n, schema=None):\n  op.create_table(n, schema=schema)\ndef upgrade():\n  for n in ("a", "b"):\n    make(f"{n}_log", "x")', {"x.a_log", "x.b_log"}),
    ('def upgrade():\n  for i in range(2):\n    op.execute("CREATE TABLE shard_%d (id int)" % i)', {"shard_0", "shard_1"}),
    ('def upgrade():\n  for k, v in {"q": 1}.items():\n    op.execute("CREATE TABLE {} ({})".format(k, v))', {"q"}),
    ('def upgrade():\n  op.execute("""DO $$ BEGIN CREATE TYPE "Mood" AS ENUM (\'x\'); END $$""")', {"Mood"}),
    ('def upgrade():\n  op.execute("DROP TABLE IF EXISTS a, b.c CASCADE")', {"-a", "-b.c"}),
    ('def upgrade():\n  op.execute("SELECT * INTO t FROM x; ALTER TABLE z RENAME TO zz; ALTER TABLE IF EXISTS a.z SET SCHEMA c")', {"t", "-z", "zz", "-a.z", "c.z"}),
    ('def upgrade():\n  op.execute("CREATE TEMP TABLE t (); -- CREATE TABLE u\\n/* CREATE TABLE v */ SELECT 1")', set()),
    ('def upgrade():\n  op.execute("SET search_path = app, public; CREATE VIEW v AS SELECT 1")', {"v", "app.v", "public.v"}),
    ('class A(Base):\n  __tablename__ = "aaa"\ndef upgrade():\n  Base.metadata.create_all(op.get_bind())', {"aaa"}),
    ('def upgrade():\n  op.execute("CREATE OR REPLACE FUNCTION public.f(a int) RETURNS int AS $$ $$; CREATE SCHEMA IF NOT EXISTS x")', {"public.f", "x"}),
    ('STATEMENTS = ["CREATE TABLE a()", "CREATE TABLE b()"]\ndef upgrade():\n  for one in STATEMENTS:\n    op.execute(one)', {"a", "b"}),
    ('def upgrade():\n  [op.create_table(n) for n in ["m", "k"]]\n  op.drop_table("m")', {"m", "k", "-m"}),
    ('def upgrade():\n  theirs = sa.Table("theirs", sa.MetaData(), autoload_with=op.get_bind())\n  kind.create(op.get_bind())', set()),
    ('def upgrade():\n  "CREATE TABLE told"\n  op.add_column("theirs", sa.Column("CREATE", sa.Text()))', set()),
]  # fmt: skip


@pytest.mark.parametrize(("source", "names"), FILES)
def test_what_a_file_makes_is_read_without_running_it(source: str, names: set[str]) -> None:
    """By Alembic's verbs, SQLAlchemy's objects and SQL; only what `upgrade` reaches, and not what cannot be read."""
    events = _File(ast.parse(source), Path()).events()
    told = {("" if made else "-") + (f"{thing.schema}." if thing.schema else "") + thing.name for made, thing in events}
    assert told == names


def test_a_file_of_sql_that_a_revision_names_is_read(tmp_path: Path) -> None:
    """Beside it, or anywhere below the folder of migrations."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "sql").mkdir()
    (tmp_path / "sql" / "first.sql").write_text("CREATE TABLE told (id int);")
    tree = ast.parse('def upgrade():\n  op.execute((Path(__file__).parent.parent / "sql" / "first.sql").read_text())')
    assert [event.object.name for event in _File(tree, tmp_path / "versions").events()] == ["told"]


@pytest.mark.parametrize("tool", [*THEIRS, "an extension"])
def test_a_database_that_others_use_too_is_adopted(at_head: Workshop, database: Dsn, tool: str) -> None:
    """Our tables are exactly a revision's; what stands beside them is none of its business."""
    rows_of(database, THEIRS[tool][0] if tool in THEIRS else "CREATE EXTENSION citext")
    rows_of(database, "DROP TABLE alembic_version, migration_ledger")
    ended = at_head.migrate()
    assert ended.returncode == 0, ended.stderr
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0002_add_task_due_on",)]


def test_what_differs_is_told_without_what_is_theirs(at_head: Workshop, database: Dsn) -> None:
    """The refusal names our difference only."""
    rows_of(database, f"{CELERY}; DROP TABLE alembic_version, migration_ledger; ALTER TABLE task ADD note text")
    for words in ((), ("adopt", "0002_add_task_due_on")):
        ended = at_head.migrate(*words)
        assert ended.returncode == 3
        assert "  differs    column task.note: there, but not in the revision\n" in ended.stderr
        assert "celery_taskmeta: there" not in ended.stderr
