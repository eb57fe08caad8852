"""The commands that people know from Alembic, typed by hand."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config

from railhead.devserver import shared
from railhead.dsn import Dsn
from tests.databases import Databases, rows_of
from tests.forked_tree import Workshop
from tests.processes import eventually
from tests.project_tree import Tree

BASE, FIRST, SECOND = "", "0001_baseline", "0002_add_task_due_on"
SECOND_LINE = "0001_baseline -> 0002_add_task_due_on (head), A task can have a due date.\n"

ENVIRONMENT = """
from alembic import context

context.configure(url="postgresql+psycopg2://")
context.config.attributes["look"](context)
"""


def version(database: Dsn) -> str:
    """Return what alembic_version holds, "" for nothing."""
    return ",".join(str(row[0]) for row in rows_of(database, "SELECT version_num FROM alembic_version"))


def relations(database: Dsn) -> set[object]:
    """Return the names of everything in `public`."""
    return {
        row[0] for row in rows_of(database, "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace")
    }


def add_column(tree: Tree, line: str) -> None:
    """Write one more column into the model Project."""
    models = tree.root / "models.py"
    text = models.read_text()
    marker = '    description: Mapped[str] = mapped_column(server_default="")\n    created_at'
    assert marker in text
    models.write_text(text.replace(marker, marker.replace("    created_at", f"    {line}\n    created_at"), 1))


@pytest.mark.parametrize(
    ("start", "typed", "end"),
    [
        (BASE, "upgrade head", SECOND),
        (BASE, "upgrade 0002", SECOND),
        (BASE, "upgrade 0001_baseline", FIRST),
        (BASE, "upgrade +1", FIRST),
        (BASE, "upgrade heads", SECOND),
        (FIRST, "upgrade +1", SECOND),
        (SECOND, "upgrade head", SECOND),
        (SECOND, "downgrade -1", FIRST),
        (SECOND, "downgrade 0001", FIRST),
        (SECOND, "downgrade base", BASE),
        (SECOND, "stamp 0001", FIRST),
        (SECOND, "stamp base", BASE),
        (BASE, "stamp head", SECOND),
        (SECOND, "stamp --purge 0001", FIRST),
    ],
)
def test_a_command_leads_where_it_says(
    workshop: Workshop, databases: Databases, head: str, start: str, typed: str, end: str
) -> None:
    """Each way of naming a target leads there, exits 0 and says so on standard error."""
    database = workshop.database = databases.new(head) if start == SECOND else databases.new()
    if start == FIRST:
        workshop.alembic("upgrade", start)
    ended = workshop.alembic(*typed.split())
    assert (ended.returncode, version(database)) == (0, end), ended.stderr
    assert re.search(rf" (upgrade|downgrade|stamp): .*, the database is at {end or 'base'}( |$)", ended.stderr.strip())


def test_downgrading_to_base_leaves_only_the_books(at_head: Workshop, database: Dsn) -> None:
    """After a way up and down nothing is left but the version table and the ledger, not even the enum type."""
    at_head.alembic("downgrade", "base")
    tables = {row[0] for row in rows_of(database, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}
    enums = rows_of(database, "SELECT typname FROM pg_type WHERE typtype = 'e'")
    assert (tables, enums) == ({"alembic_version", "migration_ledger"}, [])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("current", "0001_baseline\n"),
        ("heads", "0002_add_task_due_on (head)\n"),
        ("history", f"{SECOND_LINE}<base> -> 0001_baseline, The schema that the application starts with.\n"),
        ("history -r current:", SECOND_LINE),
        ("branches", ""),
        ("show 0002", "Rev: 0002_add_task_due_on (head)\nParent: 0001_baseline\n"),
    ],
)
def test_a_command_that_reads_says_what_alembic_says(workshop: Workshop, typed: str, said: str) -> None:
    """Reading commands print Alembic's own answer and nothing else."""
    workshop.alembic("upgrade", "0001")
    ended = workshop.alembic(*typed.split())
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith(said)
    assert said or not ended.stdout


@pytest.mark.parametrize(
    "typed", ["current", "heads", "history", "check", "show head", "revision -m note", "upgrade head --sql"]
)
def test_a_command_that_reads_leaves_an_empty_database_empty(workshop: Workshop, database: Dsn, typed: str) -> None:
    """Not even a version table or a ledger appears in the database."""
    workshop.alembic(*typed.split())
    assert relations(database) == set()


@pytest.mark.parametrize(
    "typed", ["current", "check", "history -r current:", "revision -m note", "revision --autogenerate -m x"]
)
def test_a_command_that_reads_may_do_so_as_a_reader(at_head: Workshop, typed: str) -> None:
    """Sessions that may not write are enough for the commands that read."""
    ended = at_head.alembic(*typed.split(), PGOPTIONS="-c default_transaction_read_only=on")
    assert ended.returncode == 0, ended.stderr


def test_check_says_that_all_is_well_at_head(at_head: Workshop) -> None:
    """`alembic check` finds no difference between models.py and the shipped revisions."""
    ended = at_head.alembic("check")
    assert (ended.returncode, ended.stdout) == (0, "No new upgrade operations detected.\n")


def test_check_names_what_models_has_and_the_database_lacks(at_head: Workshop) -> None:
    """`alembic check` fails when models.py is ahead of the migrations."""
    add_column(at_head, "goal: Mapped[str | None]")
    ended = at_head.alembic("check")
    assert ended.returncode != 0
    assert "goal" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_new_column_gives_one_file_with_just_that(at_head: Workshop, database: Dsn) -> None:
    """Adding a column to models.py and `revision --autogenerate` writes 0003_..., which adds the column and takes it back."""
    before = {file.name for file in at_head.versions.glob("*.py")}
    add_column(at_head, "goal: Mapped[str | None]")
    ended = at_head.alembic("revision", "--autogenerate", "-m", "Add project goal")
    (written,) = {file.name for file in at_head.versions.glob("*.py")} - before
    text = (at_head.versions / written).read_text()
    assert (ended.returncode, written) == (0, "0003_add_project_goal.py")
    assert 'revision = "0003_add_project_goal"\ndown_revision = "0002_add_task_due_on"\n' in text
    assert re.findall(r"^    op\..*", text, re.MULTILINE) == [
        '    op.add_column("project", sa.Column("goal", sa.Text(), nullable=True))',
        '    op.drop_column("project", "goal")',
    ]
    assert at_head.alembic("upgrade", "head").returncode == 0
    assert at_head.alembic("check").returncode == 0
    assert version(database) == "0003_add_project_goal"


def test_without_a_change_no_file_is_written(at_head: Workshop) -> None:
    """`revision --autogenerate` on models that agree with the database writes nothing and says why."""
    before = sorted(at_head.versions.iterdir())
    ended = at_head.alembic("revision", "--autogenerate", "-m", "Nothing")
    assert (ended.returncode, sorted(at_head.versions.iterdir())) == (0, before)
    assert "there is nothing to write a revision for" in ended.stderr


def test_an_empty_revision_is_numbered_and_runs(workshop: Workshop, database: Dsn) -> None:
    """`revision -m` writes the next number with a body to be filled, and needs no database at head for that."""
    ended = workshop.alembic("revision", "-m", "Fill in the goals")
    assert ended.returncode == 0, ended.stderr
    assert (workshop.versions / "0003_fill_in_the_goals.py").exists()
    assert workshop.alembic("upgrade", "head").returncode == 0
    assert version(database) == "0003_fill_in_the_goals"


def test_two_heads_are_merged(bare: Workshop, database: Dsn) -> None:
    """`merge heads` closes a fork; what is applied on both branches ends at the merge."""
    bare.write("0001_root")
    bare.write("0002_left", after="0001_root")
    bare.write("0002_right", after="0001_root")
    merged = bare.alembic("merge", "heads", "-m", "Close the fork")
    assert merged.returncode == 0, merged.stderr
    ended = bare.alembic("upgrade", "head")
    assert ended.returncode == 0, ended.stderr
    assert version(database) == bare.alembic("heads").stdout.split()[0]
    assert rows_of(database, "SELECT count(*) FROM migration_ledger WHERE outcome = 'applied'") == [(4,)]


def test_offline_sql_does_what_the_command_would(workshop: Workshop, database: Dsn) -> None:
    """`upgrade head --sql` asks no database, and its text brings one to head."""
    text = workshop.alembic("upgrade", "head", "--sql", DATABASE_URL="postgresql://nobody@127.0.0.1:1/nowhere").stdout
    rows_of(database, text.replace("BEGIN;", "").replace("COMMIT;", ""))
    assert version(database) == SECOND
    assert workshop.alembic("check").returncode == 0


def test_offline_sql_goes_back_too(workshop: Workshop) -> None:
    """`downgrade 0002:0001 --sql` writes the statements of the way back, in a transaction."""
    ended = workshop.alembic("downgrade", "0002:0001", "--sql")
    statements = [line for line in ended.stdout.splitlines() if line and not line.startswith("--")]
    assert statements == [
        "BEGIN;",
        "ALTER TABLE task DROP COLUMN due_on;",
        f"UPDATE alembic_version SET version_num='{FIRST}' WHERE alembic_version.version_num = '{SECOND}';",
        "COMMIT;",
    ]


def test_everything_works_with_nothing_configured(workshop: Workshop) -> None:
    """On a fresh clone with no setting at all the commands find the embedded server by themselves."""
    workshop.database = None
    add_column(workshop, "goal: Mapped[str | None]")
    try:
        for typed in (
            "upgrade head",
            "revision --autogenerate -m goals",
            "upgrade +1",
            "check",
            "downgrade -1",
            "downgrade base",
            "current",
        ):
            ended = workshop.alembic(*typed.split())
            assert ended.returncode == 0, f"{typed}: {ended.stderr}"
    finally:
        shutil.rmtree(workshop.root / ".data", ignore_errors=True)
        eventually(lambda: shared.gone(workshop.root / ".data"), within=30, what="the embedded server ends")


@pytest.mark.parametrize(
    ("run", "moves"),
    [
        (lambda config: command.upgrade(config, "head"), True),
        (lambda config: command.downgrade(config, "base"), True),
        (lambda config: command.stamp(config, "head"), True),
        (command.current, False),
        (command.check, False),
        (lambda config: command.history(config, indicate_current=True), False),
        (lambda config: command.revision(config, "x", autogenerate=True), False),
    ],
    ids=["upgrade", "downgrade", "stamp", "current", "check", "history", "revision"],
)
def test_only_commands_that_move_carry_a_destination(
    tmp_path: Path, run: Callable[[Config], None], moves: bool
) -> None:
    """Alembic gives `destination_rev` to upgrade, downgrade and stamp alone: the engine tells them apart by it."""
    (tmp_path / "versions").mkdir()
    (tmp_path / "env.py").write_text(ENVIRONMENT)
    (tmp_path / "script.py.mako").write_text("")
    config = Config()
    config.set_main_option("script_location", str(tmp_path))
    config.set_main_option("path_separator", "os")

    class Seen(Exception):
        pass

    def look(context: object) -> None:
        raise Seen("destination_rev" in context.get_context().opts)  # type: ignore[attr-defined]  # Alembic's proxy

    config.attributes["look"] = look
    with pytest.raises(Seen) as seen:
        run(config)
    assert seen.value.args == (moves,)


def test_offline_sql_keeps_percent_signs(bare: Workshop) -> None:
    """A percent sign in a migration is one percent sign in the text of `--sql`."""
    bare.write("0001_percent", upgrade="op.execute(\"CREATE TABLE t (a text CHECK (a LIKE '5%'))\")")
    text = bare.alembic("upgrade", "head", "--sql").stdout
    assert "LIKE '5%')" in text
