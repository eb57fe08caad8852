"""Why does PostgreSQL refuse what the engine itself needs?

No file is to blame then: a trigger, a limit of the role, a table of another tool. Never connects.
"""

from __future__ import annotations

import re

import psycopg2

from railhead.diagnosis.postgres_error import Ask
from railhead.diagnosis.sqlstates import Cause
from railhead.postgres.quoting import quoted_name
from railhead.project import LEDGER_TABLE, own_tables, version_table

_FUNCTION = re.compile(r"PL/\w+ function (?:inline_code_block|([\w.\"$]+)\()")
"""In the context of an error that a function has raised."""

_COLUMN = re.compile(r'column "?(?:\w+\.)?(\w+)"?(?: of relation "?(\w+)"?)? does not exist')

_TYPES = {
    "version_num": "varchar(32) NOT NULL",
    "id": "bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
    "breaking": "boolean",
    "started_at": "timestamp with time zone NOT NULL DEFAULT clock_timestamp()",
    "duration_ms": "integer",
    "waited_ms": "integer",
    "attempts": "integer",
}
"""Of the columns of the engine's own tables that are no text."""


def find(error: psycopg2.Error, ask: Ask) -> Cause | None:
    """Return why what the engine itself needs is refused, None when nobody knows. Asks, at most, what `ask` answers."""
    if cause := raised(error, ask):
        return cause
    if error.pgcode == "57014" and "timeout" in (error.diag.message_primary or ""):
        return _too_short("statement_timeout", ask)
    if error.pgcode == "3F000":
        return _no_schema(ask)
    if error.pgcode in {"42703", "42P01", "42809", "42804", "22001", "23502", "23514", "22P02", "428C9", "23505"}:
        return _table_of_others(error)
    if error.pgcode in {"26000", "42P05"}:
        return POOLED
    return None


POOLED = Cause(
    "pooled",
    "a pooler hands each transaction to another session, where what was prepared is not there",
    "let MIGRATE_DATABASE_URL name the server itself, without the pooler",
)


def raised(error: psycopg2.Error, ask: Ask) -> Cause | None:
    """Return which function refuses something, an event trigger's perhaps; None when none does, or a block of the statement itself."""
    match = _FUNCTION.search(error.diag.context or "")
    if match is None or not match[1]:
        return None
    function = match[1]
    name = function.rpartition(".")[2].strip('"')
    trigger = ask(_EVENT_TRIGGER, (name,))
    if not trigger:
        return Cause(
            "raised",
            f"the function {function} refuses it",
            "see what it wants, in PostgreSQL's words above, and let whoever made it allow the role that migrates",
        )
    named = quoted_name(str(trigger))
    return Cause(
        "event-trigger",
        f"the event trigger {named} refuses it",
        f"let {function} allow the role that migrates ({_role(ask)}), or as an administrator, for as long as this takes:\n"
        f"ALTER EVENT TRIGGER {named} DISABLE;\nand afterwards:\nALTER EVENT TRIGGER {named} ENABLE;",
    )


def _too_short(setting: str, ask: Ask) -> Cause:
    value, role = ask(f"SELECT current_setting('{setting}')", ()), _role(ask)
    database = quoted_name(str(ask("SELECT current_database()", ()) or "the_database"))
    return Cause(
        "statement-timeout",
        f"the role's or the database's own {setting}{f' ({value})' if value else ''} is too short",
        f"give the role that migrates more (0 is no limit), also where `options` of the URL sets it:\n"
        f"ALTER ROLE {role} IN DATABASE {database} SET {setting} = 0;",
    )


def _no_schema(ask: Ask) -> Cause:
    path, role = ask("SELECT current_setting('search_path')", ()), _role(ask)
    database = quoted_name(str(ask("SELECT current_database()", ()) or "the_database"))
    return Cause(
        "search-path",
        f"search_path names no schema that is there{f' ({path})' if path else ''}",
        "make the schema that it should name first (CREATE SCHEMA ...), or put one first that is there, for all URLs alike:\n"
        f"ALTER ROLE {role} IN DATABASE {database} SET search_path = public;",
    )


def _table_of_others(error: psycopg2.Error) -> Cause | None:
    sentence = error.diag.message_primary or ""
    query = getattr(error.cursor, "query", None) or b""
    statement = query.decode("utf-8", "replace") if isinstance(query, bytes) else str(query)
    names = sorted(own_tables(), key=lambda name: name != LEDGER_TABLE)
    table = next((name for name in names if name in f"{sentence} {error.diag.table_name}"), None)
    table = table or next((name for name in names if name in statement), None)
    if table is None:
        return None
    column = _COLUMN.search(sentence)
    if column is not None:
        table = version_table().sql if column[1] == "version_num" else LEDGER_TABLE
    if column is None:
        return Cause(
            "own-table",
            f"{table} is not the table that the engine has made",
            f"see what it is (psql: \\d {table}); if another tool has made it, give this one a schema of its own:\n"
            "ALTER ROLE ... SET search_path = ...;",
        )
    kind = _TYPES.get(column[1], "text")
    return Cause(
        "own-table",
        f"{table} lacks the column {column[1]}",
        f"if the engine has made the table and somebody took the column away, give it back:\nALTER TABLE {table} ADD COLUMN {column[1]} {kind};\n"
        "if another tool has made it, give this one a schema of its own (ALTER ROLE ... SET search_path = ...)",
    )


def _role(ask: Ask) -> str:
    return quoted_name(str(ask("SELECT current_user", ()) or "the_role"))


_EVENT_TRIGGER = """
SELECT e.evtname FROM pg_event_trigger e JOIN pg_proc p ON p.oid = e.evtfoid WHERE p.proname = %s AND e.evtenabled <> 'D'
"""
