"""What Railhead is put in charge of: a database that plain Alembic made, and a project with a history of its own."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from hashlib import md5
from pathlib import Path

import alembic
import pytest

from tests.databases import Databases, named, rows_of, url_of
from tests.forked_tree import Workshop
from tests.project_tree import ALEMBIC, MIGRATE

SERVE = (sys.executable, "-c", "from app import create_app; create_app(); print('serving')")

PLAIN = """
import os
from alembic import command
from alembic.config import Config

config = Config()
config.set_main_option("script_location", "plain")
config.set_main_option("version_locations", "migrations/versions")
config.set_main_option("path_separator", "os")
config.set_main_option("sqlalchemy.url", os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg2://").replace("%", "%%"))
command.upgrade(config, os.environ["TARGET"])
"""
"""Alembic with the env.py that `alembic init` writes, and nothing of ours."""

READING = (
    *[
        (*MIGRATE, *command)
        for command in (("status",), ("drift",), ("log",), ("plan",), ("upgrade", "--dry-run"), ("wait",))
    ],
    *[
        (*ALEMBIC, *command)
        for command in (("current",), ("heads",), ("history",), ("branches",), ("show", "head"), ("check",))
    ],
)


def plain_alembic(tree: Workshop, target: str) -> None:
    """Upgrade the tree's database as a project without Railhead does."""
    (tree.root / "plain").mkdir(exist_ok=True)
    shutil.copy(Path(alembic.__file__).parent / "templates/generic/env.py", tree.root / "plain")
    ended = tree.run(sys.executable, "-c", PLAIN, TARGET=target)
    assert ended.returncode == 0, ended.stderr
    shutil.rmtree(tree.root / "plain")


@pytest.mark.parametrize(
    ("target", "state"), [("head", "current"), ("0001_baseline", "behind")], ids=["at head", "half way"]
)
def test_a_database_of_plain_alembic_is_taken_over_without_a_word(workshop: Workshop, target: str, state: str) -> None:
    """Its state is known at once, the start brings it to head and serves, and the ledger begins with what Railhead has done."""
    assert workshop.database
    plain_alembic(workshop, target)
    rows_of(workshop.database, "INSERT INTO project (name) VALUES ('kept')")
    seen = json.loads(workshop.migrate("status", "--json").stdout)
    assert (seen["state"], seen["flags"], seen["last"]) == (state, [], None)
    started = workshop.run(*SERVE, LOG_LEVEL="warning")
    assert (started.returncode, started.stdout, started.stderr) == (0, "serving\n", "")
    assert rows_of(workshop.database, "SELECT name FROM project") == [("kept",)]
    assert json.loads(workshop.migrate("status", "--json").stdout)["state"] == "current"
    wrong = [(command, ended) for command in READING if (ended := workshop.run(*command)).returncode]
    assert not wrong
    assert len(json.loads(workshop.migrate("log", "--json").stdout)) == (0 if state == "current" else 1)


def test_going_back_below_what_railhead_has_done_works(workshop: Workshop) -> None:
    """What plain Alembic has applied can be taken back, and applied again, as any other revision."""
    plain_alembic(workshop, "head")
    assert workshop.migrate("downgrade", "base", "--yes").returncode == 0
    assert workshop.migrate().returncode == 0
    assert json.loads(workshop.migrate("drift", "--json").stdout) == {"outside": [], "models": []}


def test_two_urls_of_two_databases_are_never_a_success(workshop: Workshop, databases: Databases) -> None:
    """Whatever both hold, a start that would migrate one database and serve another ends with 3 and names the variables."""
    assert workshop.database
    other = url_of(databases.new())
    for arrange in (lambda: None, workshop.migrate, lambda: workshop.migrate(DATABASE_URL=other)):
        arrange()
        started = workshop.run(*SERVE, MIGRATE_DATABASE_URL=other)
        assert started.returncode == 3
        assert "serving" not in started.stdout
        assert "MIGRATE_DATABASE_URL and DATABASE_URL name two different databases" in started.stdout
        assert workshop.migrate(MIGRATE_DATABASE_URL=other).returncode == 3


def test_two_names_of_one_database_are_one(workshop: Workshop) -> None:
    """Two URLs that differ and lead to the same database are no mistake."""
    assert workshop.database
    other = url_of(workshop.database.with_(connect_timeout="7"))
    assert workshop.run(*SERVE, MIGRATE_DATABASE_URL=other).returncode == 0
    assert workshop.run(*SERVE, MIGRATE_DATABASE_URL=other).returncode == 0


@pytest.mark.parametrize(
    ("change", "flags"),
    [
        (lambda text: text.replace("nullable=True", "nullable = True").replace("upgrade()", "upgrade( )") + "\n# a comment\n", []),
        (lambda text: text.replace("A task can have a due date.", "Tasks end."), []),
        (lambda text: text.replace("sa.Date()", "sa.DateTime()"), ["edited"]),
    ],
    ids=["reformatted", "documented", "edited"],
)  # fmt: skip
def test_an_applied_revision_that_means_something_else_is_flagged(workshop: Workshop, change, flags) -> None:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Formatting, comments and docstrings are free; another meaning is flagged, and the doctor names the file."""
    assert workshop.migrate().returncode == 0
    file = workshop.versions / "0002_add_task_due_on.py"
    file.write_text(change(file.read_text()))
    assert json.loads(workshop.migrate("status", "--json").stdout)["flags"] == flags
    assert (
        "0002_add_task_due_on.py was applied and means something else now" in workshop.migrate("doctor").stdout
    ) == bool(flags)


# -- a project with a history of its own --

REVISIONS = 60
FORK, LEFT, RIGHT = 30, range(31, 37), range(37, 42)
"""Revisions 31 to 36 and 37 to 41 both stand on 30; 42 merges them."""


class Project:
    """Sixty revisions with hex ids, and the models that they lead to."""

    def __init__(self, tree: Workshop) -> None:
        """Put them in the place of the tree's own."""
        shutil.rmtree(tree.versions)
        tree.versions.mkdir()
        (tree.root / "migrations" / "manifest.txt").unlink()
        self.columns: dict[str, list[str]] = {}
        self.extras: dict[str, list[str]] = {}
        self.table = ""
        for number in range(1, REVISIONS + 1):
            upgrade, downgrade = self.step(number)
            tree.write(
                f"{self.id(number)}_step_{number}",
                upgrade,
                downgrade,
                after=self.parent(number),
                revision=self.id(number),
            )
        (tree.root / "models.py").write_text(self.models())

    @staticmethod
    def id(number: int) -> str:
        """Return twelve hex digits, as Alembic makes them up."""
        return md5(str(number).encode()).hexdigest()[:12]

    def parent(self, number: int) -> str | tuple[str, ...] | None:
        """Return what a revision stands on."""
        if number == RIGHT.stop:
            return (self.id(LEFT[-1]), self.id(RIGHT[-1]))
        return self.id(FORK if number == RIGHT.start else number - 1) if number > 1 else None

    def step(self, number: int) -> tuple[str, str]:
        """Return what revision `number` does, and how it is taken back."""
        if number == RIGHT.stop:
            return "pass", "pass"
        kind = (number - 1) % 6
        if kind in {0, 4}:
            return self.new_table(f"t{number}", "billing" if kind == 4 else None)
        name, schema = self.table.rpartition(".")[2], "billing" if "." in self.table else None
        in_schema = f", schema={schema!r}" if schema else ""
        if kind == 1:
            self.columns[self.table].append(f'sa.Column("c{number}", sa.String({number}))')
            return (
                f'op.add_column("{name}", sa.Column("c{number}", sa.String({number})){in_schema})',
                f'op.drop_column("{name}", "c{number}"{in_schema})',
            )
        if kind == 2:
            self.extras[self.table].append(f'sa.Index("ix_{name}_{number}", "name", "id")')
            return (
                f'op.create_index("ix_{name}_{number}", "{name}", ["name", "id"]{in_schema})',
                f'op.drop_index("ix_{name}_{number}", "{name}"{in_schema})',
            )
        if kind == 3:
            return (
                f"""
                table = sa.table("{name}", sa.column("id"), sa.column("name"){in_schema})
                op.bulk_insert(table, [{{"id": {number}, "name": "one"}}, {{"id": {number + 1}, "name": "50 % of two"}}])
                for row in op.get_bind().execute(sa.select(table.c.id)).all():
                    op.execute(table.update().where(table.c.id == row.id).values(name=f"number {{row.id}}"))
                """,
                f'op.execute("DELETE FROM {self.table}")',
            )
        self.extras[self.table].append(f'sa.CheckConstraint("name <> \'x\'", name="ck_{number}")')
        return (
            f'op.create_check_constraint("ck_{number}", "{name}", "name <> \'x\'"{in_schema})',
            f'op.drop_constraint("ck_{number}", "{name}"{in_schema})',
        )

    def new_table(self, name: str, schema: str | None) -> tuple[str, str]:
        """Return what makes a table; one in the schema `billing` refers to the newest in `public`."""
        columns = ['sa.Column("id", sa.Integer(), primary_key=True)', 'sa.Column("name", sa.Text(), nullable=False)']
        if schema:
            columns.append(f'sa.Column("of", sa.Integer(), sa.ForeignKey("{self.table}.id", name="fk_{name}"))')
        else:
            columns.append(
                f'sa.Column("kind", sa.Enum("a", "b", name="kind_of_{name}"), nullable=False, server_default="a")'
            )
        self.table = f"{schema}.{name}" if schema else name
        self.columns[self.table], self.extras[self.table] = columns, []
        arguments = ", ".join([f'"{name}"', *columns, *([f'schema="{schema}"'] if schema else [])])
        in_schema = f", schema={schema!r}" if schema else ""
        first = 'op.execute("CREATE SCHEMA IF NOT EXISTS billing")\n' if schema else ""
        last = "" if schema else f'\nop.execute("DROP TYPE kind_of_{name}")'
        return f"{first}op.create_table({arguments})", f'op.drop_table("{name}"{in_schema}){last}'

    def models(self) -> str:
        """Return a models.py with tables in the old style."""
        tables = []
        for full, columns in self.columns.items():
            schema, _, name = full.rpartition(".")
            arguments = [
                f'"{name}"',
                "Base.metadata",
                *columns,
                *self.extras[full],
                *([f'schema="{schema}"'] if schema else []),
            ]
            tables.append(f"sa.Table({', '.join(arguments)})")
        return "import sqlalchemy as sa\n\n\nclass Base:\n    metadata = sa.MetaData()\n\n\n" + "\n".join(tables) + "\n"


@pytest.fixture
def theirs(workshop: Workshop) -> Workshop:
    """A tree with somebody else's history and models in the place of ours."""
    Project(workshop)
    return workshop


def test_a_history_of_somebody_elses_runs_as_ours_does(theirs: Workshop) -> None:
    """Sixty revisions, a branch and a merge come to head in one run; nothing is drift, and the ledger has each of them once."""
    assert theirs.database
    ended = theirs.migrate()
    assert ended.returncode == 0, ended.stderr
    assert "60 revisions" in ended.stdout
    assert json.loads(theirs.migrate("drift", "--json").stdout) == {"outside": [], "models": []}
    assert rows_of(theirs.database, "SELECT count(*), count(DISTINCT revision) FROM migration_ledger") == [(60, 60)]
    wrong = [(command, ended) for command in READING if (ended := theirs.run(*command)).returncode]
    assert not wrong


def test_every_command_that_changes_something_works_on_it(theirs: Workshop) -> None:
    """Seal, half way up, to head, back over the merge and the data, up again, stamp, adopt, reset: each ends with 0."""
    assert theirs.database
    commands = [
        (*MIGRATE, "seal"),
        (*MIGRATE, "seal", "--check"),
        (*MIGRATE, "upgrade", Project.id(20)),
        (*ALEMBIC, "upgrade", "+5"),
        (*MIGRATE, "upgrade"),
        (*MIGRATE, "downgrade", Project.id(28), "--yes"),
        (*ALEMBIC, "upgrade", Project.id(43)),
        (*ALEMBIC, "downgrade", "-1"),
        (*MIGRATE, "upgrade"),
        (*ALEMBIC, "stamp", "head"),
        (*MIGRATE, "downgrade", "base", "--yes"),
        (*MIGRATE, "upgrade"),
        (*MIGRATE, "reset", named(theirs.database)),
        (*MIGRATE, "doctor"),
    ]
    for command in commands:
        ended = theirs.run(*command)
        assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
    assert json.loads(theirs.migrate("status", "--json").stdout)["state"] == "current"
    assert json.loads(theirs.migrate("drift", "--json").stdout) == {"outside": [], "models": []}


ASKING = (
    *[
        (*MIGRATE, *command)
        for command in (
            ("status",), ("status", "--json"), ("drift",), ("drift", "--json"), ("log",), ("log", "--json"),
            ("upgrade", "--dry-run"), ("seal", "--check", "--no-replay"),
        )
    ],
    *[(*ALEMBIC, *command) for command in (("current",), ("heads",), ("history",), ("branches",), ("show", "head"))],
)  # fmt: skip


def test_half_way_every_question_is_answered(theirs: Workshop) -> None:
    """With forty revisions pending, and between the tips of a fork and its merge, whoever only asks is told, and told the same."""
    assert theirs.database
    assert theirs.migrate("seal").returncode == 0
    for at, pending in (((20,), 40), ((LEFT[-1], RIGHT[-1]), REVISIONS - RIGHT[-1])):
        for number in at:
            assert theirs.migrate("upgrade", Project.id(number)).returncode == 0
        for command in ASKING:
            ended = theirs.run(*command)
            assert ended.returncode == 0, f"{command}: {ended.stdout}{ended.stderr}"
        seen = json.loads(theirs.migrate("status", "--json").stdout)
        assert (seen["state"], seen["current"]) == ("behind", sorted(Project.id(number) for number in at))
        assert len(seen["pending"]) == len(json.loads(theirs.migrate("plan", "--json").stdout)["pending"]) == pending
        assert theirs.migrate("wait", MIGRATE_WAIT_LOCK="0").returncode == 1
        asked = theirs.migrate("downgrade", Project.id(10))
        assert (asked.returncode, "[not-agreed]" in asked.stderr) == (2, True), asked.stderr
    written = theirs.alembic("upgrade", "head", "--sql")
    assert (written.returncode, "[needs-a-database]" in written.stderr) == (3, True), written.stderr


def test_a_version_that_was_lost_is_found_or_asked_for(theirs: Workshop) -> None:
    """After DROP TABLE alembic_version `adopt` finds the revision; where the newest wrote rows only, it says which two it may be."""
    assert theirs.database
    for number, same in ((21, 22), (RIGHT[-1], RIGHT.stop)):
        plain_alembic(theirs, Project.id(same))
        rows_of(theirs.database, "DROP TABLE alembic_version; DROP TABLE IF EXISTS migration_ledger")
        asked = theirs.migrate("adopt")
        assert (asked.returncode, "more than one revision has this schema" in asked.stderr) == (3, True), asked.stderr
        assert Project.id(same) in asked.stderr
        assert number == RIGHT[-1] or Project.id(number) in asked.stderr
        ended = theirs.migrate("adopt", Project.id(same))
        assert ended.stdout == f"adopt: the database is at {Project.id(same)}\n", ended.stderr
    assert theirs.migrate().returncode == 0
    assert json.loads(theirs.migrate("drift", "--json").stdout) == {"outside": [], "models": []}


def test_their_project_goes_on_with_ours(theirs: Workshop) -> None:
    """A new revision, one that autogenerate writes, a second head that is rebased, and one that is merged: all come to head."""
    assert theirs.migrate().returncode == 0
    head = Project.id(REVISIONS)

    def new(*command: str) -> str:
        before = set(theirs.versions.glob("*.py"))
        ended = theirs.alembic("revision", *command)
        assert ended.returncode == 0, ended.stdout + ended.stderr
        (made,) = set(theirs.versions.glob("*.py")) - before
        return made.stem

    first = new("-m", "more")
    models = theirs.root / "models.py"
    models.write_text(models.read_text() + "Base.metadata.tables['t1'].append_column(sa.Column('more', sa.Text()))\n")
    assert theirs.migrate().returncode == 0
    second = new("--autogenerate", "-m", "column more")
    assert "more" in (theirs.versions / f"{second}.py").read_text()
    assert theirs.migrate().returncode == 0
    theirs.write("beside", "op.execute('CREATE TABLE beside ()')", "op.drop_table('beside')", after=first)
    assert "[forked]" in theirs.migrate().stderr
    rebased = theirs.migrate("rebase", "beside")
    assert rebased.returncode == 0, rebased.stderr
    assert theirs.migrate().returncode == 0
    theirs.write("again", "op.execute('CREATE TABLE again ()')", "op.drop_table('again')", after=head)
    merged = theirs.alembic("merge", "heads", "-m", "both")
    assert merged.returncode == 0, merged.stdout + merged.stderr
    ended = theirs.migrate()
    assert ended.returncode == 0, ended.stderr
    assert json.loads(theirs.migrate("status", "--json").stdout)["state"] == "current"


def test_their_database_is_adopted_where_plain_alembic_has_left_it(theirs: Workshop) -> None:
    """A database at revision 22 whose version was lost is found to be there, by its schema alone, and goes on to head."""
    assert theirs.database
    plain_alembic(theirs, Project.id(23))
    rows_of(theirs.database, "DROP TABLE alembic_version")
    ended = theirs.migrate()
    assert ended.returncode == 0, ended.stderr
    assert json.loads(theirs.migrate("log", "--json", "--limit", "1000").stdout)[-1]["action"] == "adopt"
    assert json.loads(theirs.migrate("drift", "--json").stdout) == {"outside": [], "models": []}


def test_the_models_of_another_schema_are_compared_too(theirs: Workshop) -> None:
    """A column that a table outside public lacks is told, and nothing else is."""
    models = theirs.root / "models.py"
    assert theirs.migrate().returncode == 0
    models.write_text(
        models.read_text()
        + textwrap.dedent("Base.metadata.tables['billing.t5'].append_column(sa.Column('more', sa.Text()))\n")
    )
    told = json.loads(theirs.migrate("drift", "--json").stdout)["models"]
    assert [one["object"] for one in told] == ["column billing.t5.more"]
