"""What would be lost?

Counts from the real tables what a downgrade or a reset would drop. Read-only, but for `drop_everything`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import psycopg2
from psycopg2.extensions import connection as Connection

from railhead.devserver import scratch
from railhead.errors import Stop
from railhead.hazards import history_replay
from railhead.hazards.loss import Loss
from railhead.hazards.loss_counts import at_stake, counted
from railhead.hazards.replay import Failed
from railhead.history import loader, offline_sql
from railhead.history.planner import MigrationStep
from railhead.postgres.connection import fetch_all, fetch_value, open_now
from railhead.settings import Settings

_NAME = r'(?:"(?:[^"]|"")+"|\w+)(?:\.(?:"(?:[^"]|"")+"|\w+))?'
_DROPS = re.compile(r"DROP (TABLE|SCHEMA) (?:IF EXISTS )?(.+?)(?: CASCADE| RESTRICT)?", re.IGNORECASE | re.DOTALL)
_EMPTIES = re.compile(rf"TRUNCATE (?:TABLE )?(?:ONLY )?({_NAME}(?:\s*,\s*{_NAME})*)[^,]*", re.IGNORECASE)
_DELETES = re.compile(rf"DELETE FROM (?:ONLY )?({_NAME})\b(.*)", re.IGNORECASE | re.DOTALL)
_ALTERS = re.compile(rf"ALTER TABLE (?:IF EXISTS )?(?:ONLY )?({_NAME}) (.+)", re.IGNORECASE | re.DOTALL)
_DROPS_COLUMN = re.compile(
    rf"DROP (?!CONSTRAINT )(?:COLUMN )?(?:IF EXISTS )?({_NAME})(?: CASCADE| RESTRICT)?", re.IGNORECASE
)
_KEEPS_ROWS = re.compile(
    r"(?:ADD|RENAME|VALIDATE|ENABLE|DISABLE|OWNER|SET|RESET|CLUSTER|REPLICA|INHERIT|NO|FORCE|ATTACH|DETACH|DROP CONSTRAINT"
    rf"|ALTER (?:COLUMN )?{_NAME} (?:SET|DROP|ADD|RESTART)(?! DATA\b)) .*",
    re.IGNORECASE | re.DOTALL,
)
_KEEPS_ALL = re.compile(
    r"(?:CREATE|COMMENT|GRANT|REVOKE|SET|RESET|INSERT|ANALYZE|REINDEX|LOCK|ALTER(?! TABLE | EXTENSION )"
    r"|DROP (?:INDEX|VIEW|MATERIALIZED VIEW|TYPE|DOMAIN|FUNCTION|PROCEDURE|AGGREGATE|OPERATOR|CAST|TRIGGER|RULE|POLICY"
    r"|STATISTICS)) .*",
    re.IGNORECASE | re.DOTALL,
)
_MORE = re.compile(r"DROP .*\bCASCADE|ALTER TYPE .* DROP ATTRIBUTE .*|.* DO UPDATE .*", re.IGNORECASE | re.DOTALL)
"""Statements that lose no row and no value, and those among them that may all the same: CASCADE may take columns away."""

_PIECE = re.compile(
    r"""(?P<space>(?:\s|--[^\n]*|/\*.*?\*/)+)|\"(?:[^\"]|\"\")*\"|\be'(?:[^'\\]|\\.|'')*'|'(?:[^']|'')*'|\$(\w*)\$.*?\$\2\$|.""",
    re.DOTALL | re.IGNORECASE,
)
"""The space between two words, with comments, or what is in quotes, PostgreSQL's dollars among them, or one character."""

_SHOWN = 100
"""Characters of a statement that are shown."""


class _Losses:
    """What statements would lose, as far as their words tell; what they do not tell is `unknown`."""

    def __init__(self, statements: Sequence[str]) -> None:
        self.tables: dict[str, None] = {}
        self.schemas: dict[str, None] = {}
        self.columns: dict[tuple[str, str], None] = {}
        self.rows: dict[str, None] = {}
        """Tables of which all rows, or some, are deleted."""
        self.unknown: list[str] = []
        for statement in (one for text in statements for one in _split(text, ";") if one):
            if not self._understood(statement):
                self.unknown.append(" ".join(statement.split()))

    def _understood(self, statement: str) -> bool:
        if drops := _DROPS.fullmatch(statement):
            gone = self.tables if drops[1].upper() == "TABLE" else self.schemas
            gone.update(dict.fromkeys(_split(drops[2], ",")))
            return True
        if alters := _ALTERS.fullmatch(statement):
            return False not in [self._keeps(alters[1], action) for action in _split(alters[2], ",")]
        emptied = _EMPTIES.fullmatch(statement) or _DELETES.fullmatch(statement)
        if emptied:
            self.rows.update(dict.fromkeys(_split(emptied[1], ",")))
            return True
        return bool(_KEEPS_ALL.fullmatch(statement) and not _MORE.fullmatch(statement))

    def _keeps(self, table: str, action: str) -> bool:
        if column := _DROPS_COLUMN.fullmatch(action):
            self.columns[table, column[1]] = None
            return True
        return bool(_KEEPS_ROWS.fullmatch(action))


def of_downgrade(steps: Sequence[MigrationStep], settings: Settings) -> list[str]:
    """Return one line for each table and column that these steps drop, with the rows that it holds now. Read-only.

    What the words of the statements do not tell, PostgreSQL does, on a scratch database that goes the same way; in production, and
    where that is not possible, nothing is said to be lost only when every statement is one that loses nothing: the others are shown.
    """
    statements = offline_sql.downgrade_sql(settings.project, steps)
    lost = _Losses(statements or ())
    losses = _seen(steps, settings) if statements is None or lost.unknown else None
    if statements is None and losses is None:
        return ["what is lost cannot be told in advance: these revisions look at the data; read their downgrade()"]
    connection = open_for(settings, "downgrade")
    try:
        lines = _counted(connection, lost) if losses is None else _weighed(connection, losses)
    finally:
        connection.close()
    if not lost.unknown or losses is not None:
        return as_lines(lines)
    shown = [statement if len(statement) <= _SHOWN else f"{statement[: _SHOWN - 3]}..." for statement in lost.unknown]
    return [
        *(as_lines(lines) if lines else []),
        "what these lose nobody can tell in advance:",
        *(f"  {statement}" for statement in shown),
    ]


def _seen(steps: Sequence[MigrationStep], settings: Settings) -> list[Loss] | None:
    """Return what goes on a scratch database that takes the same steps; None where that does not tell all. Changes that one only."""
    if settings.production:
        return None
    history = loader.history(settings.project)
    try:
        server = scratch.server(settings)
        losses, statements = history_replay.taken_back(
            server, history, steps[0].source, [step.revision for step in steps]
        )
    except (Failed, Stop, psycopg2.Error):
        return None  # the database at hand may be another than its revisions make, and is what counts
    if any(statement.asked for statement in statements):
        return None  # what is done with rows shows only where there are some
    changed = dict.fromkeys(table for statement in statements for table in statement.written)
    return [*losses, *(Loss(table, "rows") for table in changed if Loss(table, "rows") not in losses)]


def _weighed(connection: Connection, losses: Sequence[Loss]) -> list[str]:
    """Return a line for each loss; of tables and columns also where nothing is there."""
    tables = {loss.table for loss in losses if loss.what == "table"}
    amounts = at_stake(connection, losses)
    lines = []
    for loss in losses:
        kind, name, _ = loss.parts
        if kind == "table":
            lines.append(f"table {loss.table}: {row_count(connection, loss.table)}")
        elif kind == "column":
            lines.append(f"column {loss.table}.{name}: {_values(connection, loss.table, name)}")
        elif kind == "rows" and loss.table not in tables:
            lines.append(f"rows of {loss.table}: of {row_count(connection, loss.table)}")
        elif loss in amounts and loss.table not in tables:
            lines.append(f"{loss.words} of {loss.table}: {amounts[loss]}")
    return lines


def _counted(connection: Connection, lost: _Losses) -> list[str]:
    lines = [f"table {name}: {row_count(connection, name)}" for name in lost.tables]
    for schema in lost.schemas:
        inside = [str(row[0]) for row in fetch_all(connection, _TABLES_OF, (schema,))]
        lines += [f"table {name}: {row_count(connection, name)}" for name in inside] or [f"schema {schema}: no table"]
    lines += [
        f"column {table}.{column}: {_values(connection, table, column)}"
        for table, column in lost.columns
        if table not in lost.tables
    ]
    return lines + [
        f"rows of {name}: of {row_count(connection, name)}" for name in lost.rows if name not in lost.tables
    ]


def _split(text: str, at: str) -> list[str]:
    """Return the parts between separators that stand in no brackets and no quotes, with one space between two words."""
    parts, depth = [""], 0
    for match in _PIECE.finditer(text):
        depth += (match[0] in "([") - (match[0] in ")]")
        if match[0] == at and depth == 0:
            parts.append("")
        else:
            parts[-1] += " " if match["space"] else match[0]
    return [part.strip() for part in parts]


def open_for(settings: Settings, doing: str) -> Connection:
    """Return a connection with which losses are counted. Raises Stop. Read-only."""
    return open_now(settings.migrations, doing)


def row_count(connection: Connection, table: str) -> str:
    """Return for people how many rows a table has. Read-only."""
    oid = fetch_value(connection, "SELECT to_regclass(%s)", (table,))
    return "not there" if oid is None else counted(connection, str(oid)) or "not there"


def _values(connection: Connection, table: str, column: str) -> str:
    oid = fetch_value(connection, "SELECT to_regclass(%s)", (table,))
    name = column if column.startswith('"') else f'"{column.lower()}"'
    return "not there" if oid is None else counted(connection, str(oid), name) or "not there"


def as_lines(lines: list[str]) -> list[str]:
    """Return the losses under their headline, or that there are none."""
    return ["will be lost:", *(f"  {line}" for line in lines)] if lines else ["nothing is dropped"]


TABLES = """
SELECT c.oid::regclass::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY 1
"""

_TABLES_OF = """
SELECT c.oid::regclass::text FROM pg_class c
 WHERE c.relkind IN ('r', 'p') AND c.relnamespace = to_regnamespace(%s) ORDER BY 1
"""
