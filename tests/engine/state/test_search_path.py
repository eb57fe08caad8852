"""Where unqualified names lead: which tables are seen, where new ones get, and what is said when there is no such place."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from railhead.dsn import Dsn
from tests.databases import named, rows_of, url_of
from tests.forked_tree import Workshop


def quoted(database: Dsn) -> str:
    """Return the name of a database as SQL writes it."""
    return f'"{database.parameters()["dbname"]}"'


def set_path(database: Dsn, path: str, whose: str = "DATABASE") -> None:
    """Let every session on this database, or of this role there, have a search path."""
    place = f"DATABASE {quoted(database)}"
    subject = place if whose == "DATABASE" else f"{whose} IN {place}"
    rows_of(database, f"ALTER {subject} SET search_path = {path}")


def state_of(tree: Workshop, **variables: str) -> str:
    """Return the state that `status` tells."""
    told: dict[str, str] = json.loads(tree.migrate("status", "--json", **variables).stdout)
    return told["state"]


@pytest.mark.parametrize("path", ["public, pg_catalog", '"$user", public, pg_temp', "public, information_schema"])
def test_tables_of_postgresqls_own_are_nobodys(workshop: Workshop, database: Dsn, path: str) -> None:
    """An empty database is empty with any search path, is migrated, and can be emptied again."""
    set_path(database, path)
    assert state_of(workshop) == "behind"
    for command in (["upgrade"], ["status", "--exit-code"], ["reset", named(database)], ["upgrade"]):
        ended = workshop.migrate(*command)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert rows_of(database, "SELECT count(*) FROM public.project") == [(0,)]


def test_a_path_in_the_url_counts_as_well(workshop: Workshop, database: Dsn) -> None:
    """`options` in the URL, for the one command that has it."""
    odd = url_of(database.with_(options="-csearch_path=public,pg_catalog"))
    assert state_of(workshop, DATABASE_URL=odd) == "behind"
    assert workshop.migrate("upgrade", DATABASE_URL=odd).returncode == 0
    assert workshop.migrate("reset", named(database), DATABASE_URL=odd).returncode == 0
    assert state_of(workshop) == "current"


def test_a_temporary_table_is_nobodys(workshop: Workshop, database: Dsn) -> None:
    """Another session's temporary tables stand in schemas of PostgreSQL's own."""
    set_path(database, "pg_temp, public")
    rows_of(database, "CREATE TABLE mine (id int)")  # temporary, by this path
    assert state_of(workshop) == "behind"


@pytest.fixture
def schema(database: Dsn) -> Iterator[str]:
    """A schema of the application's own, in which alone it looks."""
    rows_of(database, "CREATE SCHEMA app")
    set_path(database, "app", "ROLE CURRENT_USER")
    yield "app"
    rows_of(database, f"ALTER ROLE CURRENT_USER IN DATABASE {quoted(database)} RESET search_path")


def test_a_reset_makes_the_schemas_of_the_path_again(workshop: Workshop, database: Dsn, schema: str) -> None:
    """What the path names is where the tables get afterwards."""
    rows_of(database, f"CREATE TABLE {schema}.old (); CREATE SCHEMA other; CREATE TABLE other.old ()")
    ended = workshop.migrate("reset", named(database))
    assert ended.returncode == 0, ended.stderr
    found = rows_of(
        database, "SELECT to_regclass('app.project')::text, to_regnamespace('other'), to_regclass('app.old')"
    )
    assert found == [("project", None, None)]


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("nowhere", "nowhere: no schema of them is there"),
        ("''", '"": no schema of them is there'),
        ("pg_catalog, public", "pg_catalog, public: new tables would get into pg_catalog"),
        ("pg_temp, public", "pg_temp, public: new tables would get into pg_temp, and be gone with their session"),
    ],
)
def test_a_path_that_leads_nowhere_is_told(workshop: Workshop, database: Dsn, path: str, why: str) -> None:
    """Before anything is made, with the statement that sets it right; the doctor says the same."""
    set_path(database, path)
    ended = workshop.migrate()
    assert (ended.returncode, "[search-path]" in ended.stderr, why in ended.stderr) == (3, True, True), ended.stderr
    assert "  database   unchanged\n" in ended.stderr
    assert (
        f"ALTER ROLE postgres IN DATABASE {database.parameters()['dbname']} SET search_path = public;" in ended.stderr
    )
    assert "[search-path]" in workshop.migrate("doctor").stdout
    assert rows_of(database, "SELECT to_regclass('public.alembic_version')") == [(None,)]


def test_a_run_that_took_a_database_over_says_so(at_head: Workshop, database: Dsn) -> None:
    """Adopted a moment ago, and then refused for what is pending: that is not unchanged."""
    rows_of(database, "DROP TABLE alembic_version, migration_ledger")
    rows_of(database, "INSERT INTO project (name) SELECT 'p' || i FROM generate_series(1, 50) i; ANALYZE project")
    at_head.write(
        "0003_index", "op.create_index('ix_project_odd', 'project', ['created_at'])", after="0002_add_task_due_on"
    )
    assert at_head.migrate("seal", DATABASE_URL="").returncode == 0
    ended = at_head.migrate(MIGRATE_LARGE_TABLE="10")
    assert "[hazard]" in ended.stderr, ended.stderr
    assert "  database   taken over at 0002_add_task_due_on by this run; at 0002_add_task_due_on\n" in ended.stderr
