"""Odd ways to lose what rows hold, and odd ways that lose nothing: each is judged by what PostgreSQL did, and counted where it is."""

from __future__ import annotations

import psycopg2
import pytest

from railhead.dsn import Dsn
from tests.databases import rows_of
from tests.forked_tree import Workshop

SCHEMA = """
CREATE SCHEMA past; CREATE TYPE mood AS ENUM ('glad', 'so so', 'a"b'); CREATE DOMAIN word AS varchar(20);
CREATE TABLE kin (id int PRIMARY KEY, name text, note varchar(20), w word, moods mood[], big bigint, gone text);
CREATE TABLE child (id int PRIMARY KEY, kin int REFERENCES kin ON DELETE CASCADE);
CREATE TABLE friend (id int PRIMARY KEY, kin int REFERENCES kin ON DELETE SET NULL);
CREATE TABLE empty (id int); CREATE TABLE kept (id int, name text);
CREATE TABLE past.log (id int, words text);
CREATE TABLE parent (id int, more text); CREATE TABLE heir (own text) INHERITS (parent);
CREATE TABLE part (id int, t text) PARTITION BY LIST (id); CREATE TABLE part_1 PARTITION OF part FOR VALUES IN (1);
CREATE TABLE part_2 PARTITION OF part FOR VALUES IN (2); CREATE VIEW kin_ids AS SELECT id FROM kin;
CREATE FUNCTION tidy() RETURNS void LANGUAGE plpgsql AS $$ BEGIN DELETE FROM kept; END $$;
CREATE FUNCTION harmless() RETURNS text LANGUAGE sql AS $$ SELECT 'delete from kept'::text $$;
"""
ROWS = """
INSERT INTO kin SELECT n, 'n' || n, 'n', 'w', ARRAY['glad', CASE n WHEN 1 THEN 'a"b' ELSE 'so so' END]::mood[], n FROM generate_series(1, 5) n;
INSERT INTO child VALUES (1, 1), (2, 2), (3, 3); INSERT INTO friend VALUES (1, 1); INSERT INTO kept VALUES (1, 'a'), (2, 'b');
INSERT INTO past.log VALUES (1, 'x'); INSERT INTO heir VALUES (1, 'm', 'o'); INSERT INTO part VALUES (1, 'a'), (1, 'b')
"""

MOODS = """
ALTER TYPE mood RENAME TO old_mood; CREATE TYPE mood AS ENUM ('glad', 'so so');
ALTER TABLE kin ALTER moods TYPE mood[] USING array_remove(moods, $$a"b$$)::text[]::mood[]; DROP TYPE old_mood
"""

LOSSES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "column that comes again": (("ALTER TABLE kin DROP name, ADD name text",), ("kin, the column name: 5 values",)),
    "column renamed before": (
        ("ALTER TABLE kin RENAME name TO title", "--", "ALTER TABLE kin DROP title"),
        ("kin, the column title: 5 values",),
    ),
    "column and table renamed before": (
        ("ALTER TABLE past.log RENAME words TO w", "ALTER TABLE past.log RENAME TO logs", "--", "ALTER TABLE past.logs DROP w"),
        ("past.logs, the column w: 1 value",),
    ),
    "delete cascades": (("DELETE FROM kin WHERE id = 1",), ("child, rows: 3 rows", "kin, rows: 5 rows")),
    "delete behind a lock": (
        ("ALTER TABLE kept ADD x int", "INSERT INTO kept VALUES (9)", "DELETE FROM kept WHERE id = 7"),
        ("kept, rows: 2 rows",),
    ),
    "truncate behind a lock": (("ALTER TABLE kept ADD x int", "TRUNCATE kept"), ("kept, rows: 2 rows",)),
    "truncate behind a rewriting": (("ALTER TABLE kept ALTER id TYPE bigint", "TRUNCATE kept"), ("kept, rows: 2 rows",)),
    "truncate cascades": (("TRUNCATE kin CASCADE",), ("child, rows: 3 rows", "friend, rows: 1 row", "kin, rows: 5 rows")),
    "delete through a view": (("DELETE FROM kin_ids WHERE id = 1",), ("child, rows: 3 rows", "kin, rows: 5 rows")),
    "delete in a function": (("SELECT tidy()",), ("kept, rows: 2 rows",)),
    "delete in a block": (("DO $$ BEGIN DELETE FROM kept WHERE id = 7; UPDATE kin SET name = name; END $$",), ("kept, rows: 2 rows",)),
    "delete by another table": (("DELETE FROM kept USING kin WHERE kin.id = kept.id",), ("kept, rows: 2 rows",)),
    "delete in a procedure": (("CREATE PROCEDURE tidy_all() LANGUAGE sql AS 'DELETE FROM kept'", "CALL tidy_all()"), ("kept, rows: 2 rows",)),
    "delete by a rule": (("CREATE RULE r AS ON INSERT TO empty DO INSTEAD DELETE FROM kept", "INSERT INTO empty VALUES (1)"), ("kept, rows: 2 rows",)),
    "several at once": (
        ("CREATE TABLE z (); DROP TABLE kept; DROP TABLE empty; ALTER TABLE kin DROP name",),
        ("kept, all rows and columns: 2 rows", "kin, the column name: 5 values"),
    ),
    "truncate in a block": (("DO $$ BEGIN EXECUTE 'TRUNC' || 'ATE kept'; END $$",), ("kept, rows: 2 rows",)),
    "moved": (
        ("WITH gone AS (DELETE FROM past.log RETURNING id, words) INSERT INTO kept SELECT * FROM gone",),
        ("past.log, rows: 1 row",),
    ),
    "merge": (
        ("MERGE INTO kept k USING empty e ON k.id = e.id WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT VALUES (e.id)",),
        ("kept, rows: 2 rows",),
    ),
    "partition that holds something": (("DROP TABLE part_1",), ("part, the partition part_1: 2 rows",)),
    "partitioned table": (("DROP TABLE part",), ("part, all rows and columns: 2 rows",)),
    "heir": (("DROP TABLE heir",), ("heir, all rows and columns: 1 row",)),
    "column of a parent": (
        ("ALTER TABLE parent DROP more",),
        ("heir, the column more: 1 value", "parent, the column more: 1 value"),
    ),
    "value in an array": ((MOODS,), ('kin, the values {"a\\"b"} of moods: 1 value',)),
    "domain": (
        ("DROP DOMAIN word CASCADE",),
        ("kin, the column w: 5 values",),
    ),
    "only what does not fit": (
        ("ALTER TABLE kin ALTER big TYPE smallint", "ALTER TABLE kin ALTER name TYPE varchar(1) USING left(name, 1)"),
        ("kin, what does not fit into name as character varying(1) any more: 5 values",),
    ),
    "words to an enum": (
        ("ALTER TABLE kept ALTER name TYPE mood USING 'glad'",),
        ("kept, what does not fit into name as mood any more: 2 values",),
    ),
    "schema": (("DROP SCHEMA past CASCADE",), ("past.log, all rows and columns: 1 row",)),
    "made anew": (
        ("CREATE TABLE new AS TABLE kept", "DROP TABLE kept", "ALTER TABLE new RENAME TO kept"),
        ("kept, all rows and columns: 2 rows",),
    ),
}  # fmt: skip

KEEPS = {
    "empty partition": ("DROP TABLE part_2",),
    "partition let go": ("ALTER TABLE part DETACH PARTITION part_1",),
    "table in another schema": ("ALTER TABLE kept SET SCHEMA past",),
    "fits": ("ALTER TABLE kin ALTER big TYPE smallint", "ALTER TABLE kin ALTER note TYPE varchar(3)"),
    "domain of the same": ("ALTER TABLE kin ALTER w TYPE varchar(20)", "ALTER TABLE kin ALTER note TYPE word"),
    "value renamed": ("ALTER TYPE mood RENAME VALUE 'glad' TO 'merry'",),
    "unlogged": ("ALTER TABLE kept SET UNLOGGED",),
    "own rows": ("CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)", "DELETE FROM t", "TRUNCATE t"),
    "temporary": ("CREATE TEMPORARY TABLE t AS TABLE kept", "DELETE FROM t", "DROP TABLE t"),
    "words only": (
        "COMMENT ON TABLE kept IS 'DELETE FROM kept'",
        "INSERT INTO kept VALUES (7, 'delete from kept') /* DELETE FROM kept */",
        "SELECT harmless()",
    ),
    "written": ("UPDATE kept SET name = 'x' WHERE id = 1 -- DELETE FROM kept",),
    "trigger that deletes": (
        "CREATE FUNCTION later() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN DELETE FROM kept; RETURN NULL; END $$",
        "CREATE TRIGGER t AFTER DELETE ON child FOR EACH ROW EXECUTE FUNCTION later()",
    ),
    "column without values": ("ALTER TABLE kin DROP gone",),
    "index, view, rule": ("DROP VIEW kin_ids", "ALTER TABLE child DROP CONSTRAINT child_pkey"),
}


@pytest.fixture
def full(bare: Workshop, database: Dsn) -> Workshop:
    """A database whose tables hold rows."""
    bare.write("0001_schema", f"op.execute({SCHEMA!r})")
    assert bare.migrate().returncode == 0
    rows_of(database, ROWS)
    return bare


def pending(tree: Workshop, statements: tuple[str, ...]) -> None:
    """Write revisions, one up to each `--`, and seal them."""
    parts = "\n".join(statements).split("\n--\n")
    bodies = [part.split("\n") if "CREATE TYPE" not in part else [part] for part in parts]
    for number, body in enumerate(bodies, start=2):
        tree.write(
            f"{number:04}_change",
            "\n".join(f"op.execute({each!r})" for each in body),
            after=f"{number - 1:04}_{'schema' if number == 2 else 'change'}",
        )
    ended = tree.migrate("seal")
    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("kind", LOSSES)
def test_exactly_what_goes_is_told(full: Workshop, kind: str) -> None:
    """The refusal names every loss with what is there of it, and nothing else."""
    statements, losses = LOSSES[kind]
    pending(full, statements)
    ended = full.migrate()
    assert (ended.returncode, "would destroy data" in ended.stderr) == (3, True), ended.stderr
    told = [line.split("destroys-data: ")[1] for line in ended.stderr.splitlines() if "destroys-data: " in line]
    assert sorted(told) == sorted(losses)


@pytest.mark.parametrize("kind", KEEPS)
def test_what_loses_nothing_runs(full: Workshop, kind: str) -> None:
    """Neither words in a text nor another name, place or owner of a thing are a loss."""
    pending(full, KEEPS[kind])
    ended = full.migrate()
    assert ended.returncode == 0, ended.stderr


def test_a_table_that_somebody_keeps_is_not_waited_for(
    full: Workshop, other_session: psycopg2.extensions.connection
) -> None:
    """What cannot be counted, because somebody has the table for himself, counts as there."""
    pending(full, ("DROP TABLE kept",))
    with other_session.cursor() as cursor:
        cursor.execute("LOCK TABLE kept")
    ended = full.migrate("plan")
    assert "destroys-data: kept, all rows and columns: rows that could not be counted" in ended.stdout


def test_rows_that_a_policy_hides_are_not_taken_for_none(full: Workshop, database: Dsn) -> None:
    """Of a table whose policies hide rows from the role that counts nobody says that it is empty."""
    rows_of(database, "ALTER TABLE kept ENABLE ROW LEVEL SECURITY; ALTER TABLE kept FORCE ROW LEVEL SECURITY")
    pending(full, ("DROP TABLE kept",))
    [(name,)] = rows_of(database, "SELECT 'r' || substr(md5(current_database()), 1, 8)")
    rows_of(database, f"CREATE ROLE {name} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {name}")
    try:
        ended = full.migrate("plan", MIGRATE_DATABASE_URL=_as_role(database, str(name)))
        assert "kept, all rows and columns: rows that could not be counted" in ended.stdout, ended.stderr
    finally:
        rows_of(database, f"DROP OWNED BY {name}; DROP ROLE {name}")


def _as_role(database: Dsn, role: str) -> str:
    """Return the URL of a database for another role."""
    given = database.parameters()
    return f"postgresql:///{given['dbname']}?host={given['host']}&port={given.get('port', '5432')}&user={role}"
