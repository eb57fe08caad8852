"""What revisions do with their connection besides the operations of Alembic, one habit a record."""

from __future__ import annotations

from tests.inherited.early import EARLY
from tests.inherited.writing import Record

HABITS = [
    EARLY[0],
    Record(
        "copied_rows",
        """
        cursor = op.get_bind().connection.dbapi_connection.cursor()
        cursor.copy_expert("COPY ship (name, kind, registered) FROM STDIN", io.StringIO("A\\tferry\\t2019-01-01\\nB\\ttanker\\t2019-01-01\\n"))
        cursor.close()
        """,
        top="import io",
    ),
    Record(
        "server_side_cursor",
        """
        ships = op.get_bind().execute(sa.text("SELECT id FROM ship ORDER BY id"), execution_options={"stream_results": True})
        for (ship,) in ships:
            op.execute(f"UPDATE ship SET imo = '{ship}' WHERE id = {ship}")
        """,
    ),
    Record(
        "nested_session",
        """
        with Session(op.get_bind()) as session, session.begin():
            session.execute(sa.text("INSERT INTO ship (name, kind, registered) VALUES ('C', 'ferry', '2019-01-01')"))
        """,
        top="from sqlalchemy.orm import Session",
    ),
    Record(
        "own_lock",
        """
        op.execute("SELECT pg_advisory_xact_lock(42)")
        op.execute("LOCK TABLE ship IN ACCESS EXCLUSIVE MODE")
        op.execute("ALTER TABLE ship ADD a int")
        """,
    ),
    Record(
        "vacuumed",
        """
        with op.get_context().autocommit_block():
            op.execute("VACUUM ANALYZE ship")
            op.execute("REINDEX INDEX CONCURRENTLY pk_ship")
        """,
    ),
    Record("no_plans_left", 'op.execute("DEALLOCATE ALL")\nop.execute("ALTER TABLE ship ADD b int")'),
    Record(
        "temporary_tables",
        """
        op.execute("CREATE TEMP TABLE counted ON COMMIT DROP AS SELECT id FROM ship")
        op.execute("CREATE TEMP TABLE kept AS SELECT id FROM ship")
        op.execute("UPDATE ship SET a = (SELECT count(*) FROM counted), b = (SELECT count(*) FROM kept)")
        """,
    ),
    Record(
        "without_triggers",
        """
        op.execute("SET session_replication_role = replica")
        op.execute("INSERT INTO berth (number, ship_id) VALUES (7, 999)")
        op.execute("SET session_replication_role = DEFAULT")
        """,
    ),
    Record(
        "listened_to",
        """
        statements = []
        sa.event.listen(op.get_bind(), "before_cursor_execute", lambda *given: statements.append(given[2]))
        op.execute("ALTER TABLE ship ADD c int")
        assert statements == ["ALTER TABLE ship ADD c int"], statements
        """,
    ),
    Record(
        "savepoint_rolled_back",
        """
        bind = op.get_bind()
        savepoint = bind.begin_nested()
        op.execute("ALTER TABLE ship ADD d int")
        savepoint.rollback()
        op.execute("ALTER TABLE ship ADD d text")
        assert bind.in_transaction() and bind.get_transaction().is_active
        """,
    ),
    Record(
        "context_asked",
        """
        asked = op.get_context()
        assert asked is context.get_context() and asked.connection is op.get_bind() is context.get_bind()
        assert asked.opts["target_metadata"] is not None and asked.script is not None
        assert asked.get_current_revision() == down_revision
        """,
    ),
    Record("unlogged", 'op.create_table("scratch", sa.Column("id", sa.Integer), prefixes=["UNLOGGED"])'),
    Record(
        "german_dates",
        """
        op.execute("SET TimeZone TO 'UTC'")
        op.execute("SET DateStyle TO 'German'")
        op.execute("ALTER TABLE ship ADD f date DEFAULT '01.02.2020'")
        """,
    ),
    Record(
        "version_read",
        """
        rows = op.get_bind().execute(sa.text("SELECT version_num FROM alembic_version")).all()
        assert [row.version_num for row in rows] == [down_revision], rows
        """,
    ),
]
