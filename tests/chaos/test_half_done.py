"""A first run that is killed in the middle of a revision which has left its transaction: the next one goes on, and mends."""

from __future__ import annotations

import signal

import pytest

from railhead.dsn import Dsn
from tests.chaos import server_state
from tests.databases import Databases, rows_of
from tests.forked_tree import Workshop
from tests.hand_ends import BLOCK, COMMITS, FEW, HARMLESS
from tests.processes import eventually
from tests.project_tree import MIGRATE

PAUSE = "import os\nif os.path.exists('pause'): op.execute('SELECT pg_sleep(600)')\n"
FIRST = (
    "op.create_table('person', sa.Column('id', sa.Integer, primary_key=True), sa.Column('name', sa.Text))\n"
    "op.execute(\"CREATE TYPE mood AS ENUM ('glad')\")\nop.execute('INSERT INTO person SELECT n FROM generate_series(1, 100) n')"
)
INDEX = "op.create_index('person_name', 'person', ['name'], postgresql_concurrently=True)"
SAD = "op.execute(\"ALTER TYPE mood ADD VALUE 'sad'\")"
ADD = "op.add_column('person', sa.Column('later', sa.Integer))\nop.execute('UPDATE person SET id = id + 1000')\n"
INSIDE = PAUSE.replace("\n", "\n    ").rstrip(" ")

HALVES = {
    "a block, then work": f"{BLOCK}{INDEX}\n{PAUSE}op.execute('INSERT INTO person (id) VALUES (7777)')",
    "work, then a block": f"{ADD}{BLOCK}{SAD}\n{PAUSE}",
    "within a block": f"{ADD}{BLOCK}{SAD}\n    {INSIDE}    {INDEX}",
    "a value and its use": f"{BLOCK}{SAD}\n{PAUSE}op.execute(\"CREATE TABLE kind (mood mood DEFAULT 'sad')\")",
    "SQL": f"{ADD}op.execute('COMMIT')\n{SAD}\n{PAUSE}op.execute('CREATE INDEX CONCURRENTLY person_name ON person (name)')",
    "SQL at the end": f"{ADD}op.execute('COMMIT')\n{PAUSE}",
    "bind": f"{ADD}op.get_bind().commit()\n{PAUSE}op.execute('UPDATE person SET id = id + 5000')",
    "dropped": f"{ADD}op.execute('COMMIT')\nop.execute('DROP INDEX pk')\n{PAUSE}".replace(
        "DROP INDEX pk", "ALTER TABLE person DROP COLUMN name"
    ),
}
"""What has left its transaction where it waits: `started` is in the ledger, and the version is not."""


def written(tree: Workshop, code: str) -> None:
    """Write a history with that in its middle."""
    tree.write("0001_first", FIRST)
    tree.write("0002_half", code)
    tree.write("0003_last", "op.execute('CREATE TABLE last ()')")


def contents(database: Dsn) -> list[object]:
    """Return schema, rows and version."""
    return [
        server_state.schema(database),
        rows_of(database, "SELECT count(*), min(id), max(id) FROM person"),
        rows_of(database, "SELECT version_num FROM alembic_version"),
        server_state.applied(database),
    ]


def killed(tree: Workshop, database: Dsn) -> None:
    """Start a run and kill it where the revision waits."""
    pause = tree.root / "pause"
    pause.touch()
    tree.database = database
    run = tree.start(*MIGRATE)
    eventually(lambda: server_state.running(database, "pg_sleep(600)"), within=30, what=f"it waits; {run.stderr}")
    run.send(signal.SIGKILL)
    run.wait()
    eventually(lambda: not server_state.sessions(database), within=30, what="its sessions are gone")
    pause.unlink()


@pytest.mark.parametrize("half", HALVES)
def test_a_killed_first_run_is_mended_by_the_next(bare: Workshop, databases: Databases, half: str) -> None:
    """Nothing is refused that the first one was not, nothing is done twice, and the result is that of one that nobody disturbs."""
    written(bare, HALVES[half])
    undisturbed, database = databases.new(), databases.new()
    bare.database = undisturbed
    ended = bare.migrate()
    assert ended.returncode == 0, ended.stderr
    killed(bare, database)
    ended = bare.migrate()
    assert ended.returncode == 0, ended.stderr
    assert contents(database) == contents(undisturbed)


def test_an_index_that_was_left_invalid_is_built_anew(bare: Workshop, database: Dsn) -> None:
    """Whoever was killed while it was built leaves it INVALID, and its name is taken."""
    written(bare, f"{BLOCK}{INDEX}\n{PAUSE}")
    killed(bare, database)
    rows_of(database, "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'person_name'::regclass")
    ended = bare.migrate()
    assert ended.returncode == 0, ended.stderr
    assert rows_of(database, "SELECT indisvalid FROM pg_index WHERE indexrelid = 'person_name'::regclass") == [(True,)]


@pytest.mark.parametrize(
    ("code", "named"),
    [
        (
            f"op.execute('COMMIT')\nop.execute('UPDATE person SET id = id + 1000')\n{PAUSE}",
            "UPDATE person SET id = id + 1000",
        ),
        (
            f"op.get_bind().commit()\nop.execute('UPDATE person SET id = id + 1000')\n{BLOCK}{SAD}\n{PAUSE}",
            "the rows that it is about to commit",
        ),
    ],
    ids=["alone", "in a transaction of its own"],
)
def test_rows_of_which_nobody_knows_are_not_written_twice(bare: Workshop, database: Dsn, code: str, named: str) -> None:
    """The run stops and names the statement; nothing but that is left to be looked at."""
    written(bare, code)
    killed(bare, database)
    ended = bare.migrate()
    assert ended.returncode == 6, ended.stderr
    assert named in ended.stderr
    assert rows_of(database, "SELECT max(id) FROM person") == [(1100,)]


def test_another_file_is_run_from_the_top(bare: Workshop, database: Dsn) -> None:
    """What was changed since is not passed over: nobody knows what of it is there."""
    written(bare, f"{ADD}{BLOCK}{SAD}\n{PAUSE}")
    killed(bare, database)
    bare.write("0002_half", f"op.execute('CREATE TABLE other ()')\n{BLOCK}op.execute('VACUUM')", after="0001_first")
    ended = bare.migrate()
    assert (ended.returncode, rows_of(database, "SELECT to_regclass('other')")) == (0, [("other",)]), ended.stderr


@pytest.mark.parametrize("hand", [hand for hand in COMMITS if hand not in FEW and hand not in HARMLESS])
def test_every_way_out_runs_where_nothing_can_be_harmed_and_is_refused_elsewhere(
    bare: Workshop, databases: Databases, hand: str
) -> None:
    """From nothing it leads to head; on a database where a run has ended well nothing is touched until it is accepted."""
    bare.write("0001_first", FIRST)
    bare.write("0002_hand", COMMITS[hand])
    bare.write("0003_last", "op.execute('CREATE TABLE last ()')")
    fresh, used = databases.new(), databases.new()
    bare.database = fresh
    ended = bare.migrate()
    assert ended.returncode == 0, ended.stderr
    assert server_state.applied(fresh) == ["0001_first", "0002_hand", "0003_last"]
    bare.database = used
    assert bare.migrate("upgrade", "0001_first").returncode == 0
    ended = bare.migrate()
    assert (ended.returncode, "[not-repeatable]" in ended.stderr) == (3, True), ended.stderr
    assert server_state.versions(used) == ["0001_first"]
    bare.write("0002_hand", COMMITS[hand], after="0001_first", extra='accepted_hazards = {"not-repeatable": "tried"}')
    ended = bare.migrate()
    assert (ended.returncode, server_state.versions(used)) == (0, ["0003_last"]), ended.stderr
