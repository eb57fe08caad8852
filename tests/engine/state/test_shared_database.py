"""A database that others use already: their tables are left alone, and ours are made beside them."""

from __future__ import annotations

import json
import sys

import pytest

from railhead.dsn import Dsn
from railhead.history.made_objects import tables_in
from tests.databases import rows_of, url_of
from tests.forked_tree import Workshop

START = (sys.executable, "-c", "from app import create_app; create_app()")
READY = (
    sys.executable,
    "-c",
    "from app import create_app\nanswer = create_app().test_client().get('/readyz')\nprint(answer.status_code, answer.json['state'])",
)

CELERY = "CREATE TABLE celery_taskmeta (id int PRIMARY KEY, task_id varchar(155) UNIQUE); INSERT INTO celery_taskmeta VALUES (1, 'x')"
SCHEDULER = "CREATE TABLE apscheduler_jobs (id varchar(191) PRIMARY KEY, job_state bytea NOT NULL)"
OTHER_APPLICATION = (
    'CREATE TABLE "auth_User" (id int PRIMARY KEY); CREATE TABLE django_migrations (app text); CREATE TABLE events () '
)


def state_of(tree: Workshop) -> str:
    """Return the state that `status --json` tells."""
    told: dict[str, str] = json.loads(tree.migrate("status", "--json").stdout)
    return told["state"]


@pytest.mark.parametrize("theirs", [CELERY, SCHEDULER, OTHER_APPLICATION], ids=["celery", "apscheduler", "application"])
def test_tables_of_others_are_left_alone(workshop: Workshop, database: Dsn, theirs: str) -> None:
    """The first start migrates, and says in one line what it left alone; nothing of theirs is touched."""
    rows_of(database, theirs)
    before = rows_of(
        database, "SELECT oid, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
    )
    names = ", ".join(
        str(row[0])
        for row in rows_of(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1")
    )
    assert state_of(workshop) == "behind"
    ended = workshop.run(*START)
    assert ended.returncode == 0, ended.stdout
    said = [line for line in ended.stdout.splitlines() if "left alone" in line]
    assert [line.partition("left alone, ")[2] for line in said] == [
        f"because no revision and no model names them: {names}"
    ]
    assert state_of(workshop) == "current"
    assert set(before) <= {
        *rows_of(database, "SELECT oid, relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    }
    assert rows_of(database, "SELECT count(*) FROM migration_ledger WHERE action = 'upgrade'") == [(2,)]


def test_alembic_by_hand_leaves_them_alone_as_well(workshop: Workshop, database: Dsn) -> None:
    """`alembic upgrade head`, down to base and up again, is the same story."""
    rows_of(database, CELERY)
    for arguments in (["upgrade", "head"], ["downgrade", "base"], ["upgrade", "head"]):
        ended = workshop.alembic(*arguments)
        assert ended.returncode == 0, ended.stderr
    assert "left alone" not in ended.stderr  # they are not looked at again
    assert rows_of(database, "SELECT task_id FROM celery_taskmeta") == [("x",)]
    assert state_of(workshop) == "current"


def test_every_command_says_the_same_of_them(workshop: Workshop, database: Dsn) -> None:
    """status, plan, adopt, wait and /readyz: behind, with the tables that are left alone, and no advice that ends without ours."""
    rows_of(database, CELERY)
    left = "celery_taskmeta"
    status, plan = workshop.migrate("status"), workshop.migrate("plan")
    assert status.stdout.startswith("behind")
    assert f"  left alone {left}: no revision and no model names them\n" in status.stdout
    assert f"note: left alone, because no revision and no model names them: {left}" in plan.stdout
    for arguments in ([], ["0001_baseline"], ["0001_baseline", "--force"]):
        adopt = workshop.migrate("adopt", *arguments)
        assert (adopt.returncode, "[nothing-to-adopt]" in adopt.stderr) == (3, True), adopt.stderr
        assert "python utils/migrate.py upgrade" in adopt.stderr
    wait = workshop.migrate("wait", MIGRATE_WAIT_LOCK="0.1s")
    assert (wait.returncode, "not at head after 0.1 s" in wait.stdout) == (1, True), wait.stderr
    ready = workshop.run(*READY, MIGRATE_ON_START="off")
    assert ready.stdout.endswith("503 behind\n")
    checked = workshop.run(*START, MIGRATE_ON_START="check")
    assert (checked.returncode, "the database lacks 2 revisions" in checked.stdout) == (3, True)
    assert rows_of(database, "SELECT to_regclass('alembic_version'), to_regclass('migration_ledger')") == [(None, None)]


def test_a_failure_beside_others_leaves_the_database_as_it_was(workshop: Workshop, database: Dsn) -> None:
    """What fails in the first revision is unchanged, and can be tried again."""
    rows_of(database, CELERY)
    first = workshop.versions / "0001_baseline.py"
    text = first.read_text()
    first.write_text(
        text.replace("def upgrade() -> None:", "def upgrade() -> None:\n    raise RuntimeError('not yet')\n")
    )
    ended = workshop.migrate()
    assert "  database   unchanged, without a version\n" in ended.stderr, ended.stderr
    first.write_text(text)
    assert workshop.migrate().returncode == 0


@pytest.mark.parametrize("collides", ["task", "project"])
def test_a_name_of_ours_keeps_it_unmanaged(workshop: Workshop, database: Dsn, collides: str) -> None:
    """Where a name collides nobody guesses: the tables are named, and no advice marks it current without ours."""
    rows_of(database, f"{CELERY}; CREATE TABLE {collides} (id int)")
    assert state_of(workshop) == "unmanaged"
    for ended in (workshop.migrate(), workshop.migrate("adopt")):
        assert (ended.returncode, "[unmanaged]" in ended.stderr) == (3, True), ended.stderr
        assert f"  our names  {collides}: a revision makes them, or a model knows them\n" in ended.stderr
        assert "  others     celery_taskmeta: no revision and no model names them\n" in ended.stderr
        assert "--force" not in ended.stderr
        assert "reset" not in ended.stderr
    assert rows_of(database, "SELECT to_regclass('migration_ledger')") == [(None,)]


def test_a_table_that_only_a_model_knows_is_ours(workshop: Workshop, database: Dsn) -> None:
    """A history that begins with create_all makes no table by name; a model that is new has no revision yet."""
    workshop.write("0003_all", "pass", after="0002_add_task_due_on")
    models = workshop.root / "models.py"
    models.write_text(
        f"{models.read_text()}\n\nclass Note(Base):\n    __tablename__ = 'note'\n    id: Mapped[int] = mapped_column(primary_key=True)\n"
    )
    rows_of(database, "CREATE TABLE note (id int)")
    assert state_of(workshop) == "unmanaged"


def test_a_table_of_the_baseline_is_ours(workshop: Workshop, database: Dsn) -> None:
    """What a history starts from is made by no revision, and may be in no model any more."""
    (workshop.root / "migrations" / "baseline.sql").write_text(
        "CREATE TABLE public.older (\n    id integer NOT NULL\n);\n"
    )
    rows_of(database, "CREATE TABLE older (id int)")
    assert state_of(workshop) == "unmanaged"


def test_models_that_cannot_be_loaded_stop_nobody(workshop: Workshop, database: Dsn) -> None:
    """The revisions alone say which tables are ours then, and a warning says so."""
    rows_of(database, CELERY)
    (workshop.root / "models.py").write_text("raise RuntimeError('broken')")
    ended = workshop.migrate()
    assert ended.returncode == 0, ended.stderr
    assert "the models cannot be loaded (broken), so the revisions alone say which tables are ours" in ended.stderr


def test_a_table_of_an_extension_never_counts(workshop: Workshop, database: Dsn) -> None:
    """Neither for us nor against us: a database with nothing else is empty, whatever the table is called."""
    rows_of(database, "CREATE TABLE task (id int); ALTER EXTENSION plpgsql ADD TABLE task")
    rows_of(database, "CREATE SCHEMA ext; ALTER TABLE task SET SCHEMA ext")
    rows_of(database, "CREATE TABLE spatial_ref_sys (srid int); ALTER EXTENSION plpgsql ADD TABLE spatial_ref_sys")
    ended = workshop.migrate()
    assert ended.returncode == 0, ended.stderr
    assert "left alone" not in ended.stderr


def test_the_doctor_does_not_want_the_tables_of_others(at_head: Workshop, database: Dsn) -> None:
    """Whoever owns them: the application neither reads nor alters them."""
    role = f"{database.parameters()['dbname']}_other"
    rows_of(database, f"CREATE ROLE {role}; {CELERY}; ALTER TABLE celery_taskmeta OWNER TO {role}")
    poor = f"{role}_poor"
    rows_of(
        database, f"CREATE ROLE {poor} LOGIN PASSWORD 'p'; GRANT SELECT ON alembic_version, migration_ledger TO {poor}"
    )
    try:
        ended = at_head.migrate("doctor", DATABASE_URL=url_of(database.with_(user=poor, password="p")))
        assert "may not read and write member, project" in ended.stdout
        assert "the role of migrations does not own alembic_version, member" in ended.stdout
        assert [
            line for line in ended.stdout.splitlines() if "celery" in line and ("own" in line or "GRANT" in line)
        ] == []
    finally:
        rows_of(database, f"DROP TABLE celery_taskmeta; DROP OWNED BY {poor}; DROP ROLE {poor}; DROP ROLE {role}")


def test_tables_after_everything_was_taken_back_are_nobodys_business(at_head: Workshop, database: Dsn) -> None:
    """Down to base beside the tables of others, and up again."""
    rows_of(database, CELERY)
    assert at_head.migrate("downgrade", "base", "--yes").returncode == 0
    assert state_of(at_head) == "behind"
    assert at_head.migrate().returncode == 0


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ('op.create_table("task", sa.Column("status", sa.Text()))', {"task"}),
        ('op.create_table(table_name=op.f("task"))', {"task"}),
        ('op.create_table("task", schema="archive")', {"task"}),
        ('op.rename_table("old", "new")', {"new"}),
        ('sa.Table("kept", sa.MetaData()).create(op.get_bind())', {"kept"}),
        ('op.execute("CREATE TABLE IF NOT EXISTS public.Task (id int)")', {"task"}),
        ("op.execute('CREATE UNLOGGED TABLE \"Task\" (id int)')", {"Task"}),
        (
            'op.execute("""\n  ALTER TABLE a.old RENAME TO new;\n  CREATE MATERIALIZED VIEW seen AS SELECT 1""")',
            {"new", "seen"},
        ),
        ('for name in ("a", "b"):\n    op.create_table(name)', {"a", "b"}),
        ('name = "jobs"\nop.execute(f"CREATE TABLE {name} (id int)")', {"jobs", "CREATE TABLE ", " (id int)"}),
        ('op.add_column("theirs", sa.Column("x", sa.Text()))', set()),
        ('op.execute("CREATE TEMP TABLE t (id int)")', set()),
    ],
)
def test_the_tables_that_a_file_makes_are_read(code: str, names: set[str]) -> None:
    """By Alembic's verbs, by SQLAlchemy's tables and by SQL; where the name is not written out, every text may be it."""
    assert {*tables_in(code)} == names
