"""What becomes of a run when a revision opens connections of its own, of the engine that it finds."""

from __future__ import annotations

import pytest

from railhead.settings import Dsn
from tests.ground import rows_of
from tests.workshop import Workshop

TABLE = "op.create_table('note', sa.Column('id', sa.Integer, primary_key=True), sa.Column('text', sa.Text))"
OWN = {
    "inspected": "assert sa.inspect(op.get_bind().engine).has_table('note')",
    "reflected": "sa.Table('note', sa.MetaData(), autoload_with=op.get_bind().engine)",
    "written": "with op.get_bind().engine.begin() as own:\n    own.execute(sa.text(\"INSERT INTO note VALUES (7, 'own')\"))",
    "rolled back": "own = op.get_bind().engine.connect()\nown.execute(sa.text('DELETE FROM note'))\nown.close()",
    "in a session": "from sqlalchemy.orm import Session\n"
    "with Session(op.get_bind().engine) as own:\n    own.execute(sa.text(\"INSERT INTO note VALUES (7, 'own')\"))\n    own.commit()",
}


@pytest.mark.parametrize("own", OWN.values(), ids=OWN)
def test_a_connection_of_a_revisions_own_disturbs_no_run(bare: Workshop, database: Dsn, own: str) -> None:
    """The revision and those behind it are applied, each once, with the ledger and the version right, and it can be sealed."""
    bare.write("0001_note", TABLE, "op.drop_table('note')")
    assert bare.migrate().returncode == 0
    bare.write(
        "0002_own", f"op.execute('CREATE TABLE before (id int)')\n{own}\nop.execute('CREATE TABLE after (id int)')"
    )
    bare.write("0003_more", "op.execute('ALTER TABLE after ADD COLUMN text text')")
    ended = bare.migrate()
    assert ended.returncode == 0, ended.stderr
    assert rows_of(database, "SELECT revision, outcome FROM migration_ledger ORDER BY id") == [
        ("0001_note", "applied"), ("0002_own", "applied"), ("0003_more", "applied"),
    ]  # fmt: skip
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0003_more",)]
    assert rows_of(database, "SELECT text FROM note") == ([("own",)] if "INSERT" in own else [])
    sealed = bare.migrate("seal")
    assert sealed.returncode == 0, sealed.stderr
