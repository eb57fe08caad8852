"""A revision that goes no further until its test lets it, whatever happens to connections meanwhile."""

from __future__ import annotations

from railhead.dsn import Dsn
from tests.chaos import server_state
from tests.databases import rows_of
from tests.processes import eventually
from tests.project_tree import Tree

WAITING = "WHILE NOT EXISTS (SELECT FROM gate"

_WAIT = f"""
DO $$ BEGIN {WAITING} WHERE pid IN (0, pg_backend_pid())) LOOP PERFORM pg_sleep(0.01); END LOOP; END $$
"""


def write(tree: Tree) -> list[str]:
    """Write five revisions, the third with a gate in it; return their names. The first two are applied by `prepare`."""
    tree.write("0001_gate", "op.execute('CREATE TABLE gate (pid int)')")
    tree.write("0002_thing", "op.create_table('thing', sa.Column('id', sa.Integer, primary_key=True))")
    tree.write("0003_gated", f"op.add_column('thing', sa.Column('a', sa.Text))\nop.execute('''{_WAIT}''')")
    tree.write("0004_more", "op.add_column('thing', sa.Column('b', sa.Text))")
    tree.write("0005_last", "op.create_table('last', sa.Column('id', sa.Integer, primary_key=True))")
    return ["0001_gate", "0002_thing", "0003_gated", "0004_more", "0005_last"]


def prepare(tree: Tree) -> None:
    """Apply what comes before the gated revision."""
    result = tree.migrate("upgrade", "0002_thing")
    assert result.returncode == 0, result.stderr


def reached(database: Dsn, count: int = 1) -> list[int]:
    """Return the pids of those who stand at the gate, once there are so many."""
    eventually(lambda: len(server_state.running(database, WAITING)) == count, within=30, what=f"{count} at the gate")
    return server_state.running(database, WAITING)


def open_for(database: Dsn, pid: int = 0) -> None:
    """Let this session pass; everybody, unless one is named."""
    rows_of(database, "INSERT INTO gate VALUES (%s)", [pid])


_AT_COMMIT = """
CREATE FUNCTION at_commit() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM {}; RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER at_commit AFTER INSERT ON thing DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION at_commit()
"""


def at_commit(tree: Tree, does: str, after: tuple[str, ...]) -> None:
    """Apply a first revision, and write a second whose COMMIT calls this function of PostgreSQL, with those that come after it."""
    tree.write("0001_thing", "op.create_table('thing', sa.Column('id', sa.Integer, primary_key=True))")
    result = tree.migrate()
    assert result.returncode == 0, result.stderr
    assert tree.database
    rows_of(tree.database, _AT_COMMIT.format(does))
    tree.write("0002_commit", "op.execute('INSERT INTO thing VALUES (1)')")
    for revision in after:
        tree.write(revision)
