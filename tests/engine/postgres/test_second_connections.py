"""What becomes of a run when a revision opens connections of its own, of the engine that it finds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from alembic.config import Config

from railhead.dsn import Dsn, parse_url
from railhead.postgres import engine
from tests.databases import rows_of
from tests.forked_tree import Workshop

TABLE = "op.create_table('note', sa.Column('id', sa.Integer, primary_key=True), sa.Column('text', sa.Text))"
NAMED = "own = sa.create_engine(op.get_context().config.get_main_option('sqlalchemy.url'), poolclass=sa.NullPool)"
SECTION = "own = sa.engine_from_config(op.get_context().config.get_section('alembic'), prefix='sqlalchemy.', poolclass=sa.NullPool)"
OWN = {
    "inspected": "assert sa.inspect(op.get_bind().engine).has_table('note')",
    "reflected": "sa.Table('note', sa.MetaData(), autoload_with=op.get_bind().engine)",
    "written": "with op.get_bind().engine.begin() as own:\n    own.execute(sa.text(\"INSERT INTO note VALUES (7, 'own')\"))",
    "rolled back": "own = op.get_bind().engine.connect()\nown.execute(sa.text('DELETE FROM note'))\nown.close()",
    "of the configuration": f"{NAMED}\nassert sa.inspect(own).has_table('note')",
    "of its section": f"{SECTION}\nassert sa.inspect(own).has_table('note')",
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


ASKED = [
    "op.get_bind().engine.url.database",
    "op.get_bind().connection.dbapi_connection.info.dbname",
    "sa.engine.make_url(op.get_context().config.get_main_option('sqlalchemy.url')).database",
]


@pytest.fixture
def elsewhere(bare: Workshop) -> Iterator[Workshop]:
    """A tree whose alembic.ini names another database than the one that is migrated."""
    ini = bare.root / "alembic.ini"
    text = ini.read_text()
    ini.write_text(text + "sqlalchemy.url = postgresql://nobody@nowhere/other\n")
    yield bare
    ini.write_text(text)


def test_a_revision_that_asks_for_its_database_is_told_the_one_that_it_is_in(
    elsewhere: Workshop, database: Dsn
) -> None:
    """At a start, by hand, and on the scratch database of a replay, whatever alembic.ini says."""
    right = "op.get_bind().exec_driver_sql('SELECT current_database()').scalar()"
    elsewhere.write("0001_asks", "\n".join(f"assert {asked} == {right}" for asked in ASKED))
    for run in (
        elsewhere.migrate,
        lambda: elsewhere.alembic("downgrade", "base"),
        lambda: elsewhere.alembic("upgrade", "head"),
    ):
        ended = run()
        assert ended.returncode == 0, ended.stderr
    ended = elsewhere.migrate("seal")
    assert ended.returncode == 0, ended.stderr
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("0001_asks",)]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("postgresql://me:p%40ss%25%2F@db.example:6543/shop?sslmode=require", "postgresql+psycopg2://me:p%40ss%25%2F@db.example:6543/shop?sslmode=require"),
        ("postgresql://me@/shop?host=/run/pg", "postgresql+psycopg2://me@/shop?host=%2Frun%2Fpg"),
        ("postgresql://me@one,two/shop", "postgresql+psycopg2://me@/shop?host=one%2Ctwo"),
    ],
)  # fmt: skip
def test_the_configuration_names_any_database_that_we_reach(given: str, named: str) -> None:
    """A password with a per cent sign, a socket, several hosts: what the configuration says leads where the DSN leads."""
    config = Config()
    engine.set_url(config, parse_url(given))
    assert config.get_main_option("sqlalchemy.url") == named
