"""What does a revision take away from rows that are there, and how much of that is there?

The first is seen on a scratch database, by the numbers that PostgreSQL gives to tables and columns: what is renamed keeps its number.
The second is counted on the database at hand. Read-only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection

from railhead.postgres.connection import fetch_all, fetch_value, gently
from railhead.schema import compatibility

COUNT_UP_TO = 1_000_000
"""Rows from which the server's estimate is good enough."""

COUNT_WITHIN = 5.0
"""Seconds that one count may take: nobody waits for longer to be told."""


class Held(NamedTuple):
    """A column that can hold something."""

    table: str
    """As PostgreSQL writes it; a partition counts as its parent."""
    is_partition: bool
    column: str
    type: str
    labels: tuple[str, ...] | None
    """The values of an enum; None for other types."""
    type_number: int
    is_computed: bool


class Loss(NamedTuple):
    """What is taken away from a table: `table`, `rows`, `partition`, `column NAME`, `type NAME OLD to NEW` or `values NAME {...}`."""

    table: str
    what: str

    @property
    def words(self) -> str:
        """Return it for people, to be followed by `of TABLE`."""
        kind, _, rest = self.what.partition(" ")
        name, rest = _named(rest)
        match kind:
            case "table":
                return "all rows and columns"
            case "rows":
                return "rows"
            case "partition":
                return "a partition"
            case "column":
                return f"the column {name}"
            case "type":
                return f"what does not fit into {name} as {rest.partition(' to ')[2]} any more"
            case _:
                return f"the values {rest} of {name}"


def held(connection: Connection) -> dict[tuple[int, int], Held]:
    """Return every column there is, by the numbers of its table and its own. Read-only."""
    return {
        (int(str(table)), int(str(number))): Held(*rest)  # type: ignore[arg-type]  # the columns are Held's, in its order
        for table, number, *rest in fetch_all(connection, _HELD)
    }


def losses(before: Mapping[tuple[int, int], Held], after: Mapping[tuple[int, int], Held]) -> Iterator[Loss]:
    """Yield what is gone or narrower, each once."""
    left = {table for table, _ in after}
    names = {after[key].table for key in after}
    gone: dict[Loss, None] = {}
    for (table, number), was in before.items():
        now = after.get((table, number))
        if table not in left:
            whole = not (was.is_partition and was.table in names)
            gone[Loss(was.table, "table" if whole else "partition")] = None
        elif was.is_computed:
            continue
        elif now is None:
            gone[Loss(was.table, f"column {was.column}")] = None
        elif narrower := _narrower(was, now):
            gone[Loss(was.table, narrower)] = None
    yield from gone


def _narrower(was: Held, now: Held) -> str | None:
    if was.labels is not None and now.labels is not None:
        missing = [label for label in was.labels if label not in now.labels]
        is_other = was.type_number != now.type_number  # in the same type a value can only have another name
        return f"values {was.column} {_array(missing)}" if missing and is_other else None
    keeps = was.type == now.type or compatibility.holds(now.type, was.type) or _takes_all(now.type, was.type)
    return None if keeps else f"type {was.column} {was.type} to {now.type}"


def _takes_all(type_: str, old: str) -> bool:
    """Tell whether every value of the old type has one of the new type that it can be got back from."""
    if type_ in {"text", "character varying", "citext"}:
        return True
    if type_ == "double precision":
        return old in {"smallint", "integer", "real"}
    if type_ == "numeric":
        return old in {"smallint", "integer", "bigint"} or old.startswith("numeric")
    return any({old.partition("(")[0], type_.partition("(")[0]} <= kinds and type_ in kinds for kinds in _ALIKE)


_ALIKE = (
    {"json", "jsonb"},
    {"timestamp without time zone", "timestamp with time zone"},
    {"character", "character varying"},
    {"inet", "cidr"},
)


def at_stake(connection: Connection, wanted: Iterable[Loss]) -> dict[Loss, str]:
    """Return of each loss how much is there to lose, in words; those of which nothing is there are left out. Read-only.

    Of large tables, and where counting takes too long or somebody keeps the table, the server's estimate stands for it.
    """
    found = {loss: _at_stake(connection, loss) for loss in dict.fromkeys(wanted)}
    return {loss: words for loss, words in found.items() if words}


def _at_stake(connection: Connection, loss: Loss) -> str | None:
    kind, _, rest = loss.what.partition(" ")
    column, rest = _named(rest)
    if fetch_value(connection, "SELECT to_regclass(%s)", (loss.table,)) is None:
        return None
    labels = rest if kind == "values" else None
    words = counted(connection, loss.table, column or None, labels)
    return None if words is None or words.startswith("0 ") else words


def counted(connection: Connection, table: str, column: str | None = None, labels: str | None = None) -> str | None:
    """Return for people how many rows a table has, or how many have something in `column`, or one of `labels` (an array's text).

    None when there is no such column. Does not read more than COUNT_UP_TO rows. Read-only.
    """
    noun = "value" if column else "row"
    estimate = float(
        str(fetch_value(connection, "SELECT reltuples FROM pg_class WHERE oid = to_regclass(%s)", (table,)))
    )
    if estimate > COUNT_UP_TO:
        return f"about {estimate:,.0f} rows" if column is None else f"values in about {estimate:,.0f} rows"
    what = sql.SQL("*" if column is None else column)  # as PostgreSQL quotes it
    test = sql.SQL("" if labels is None else " FILTER (WHERE {}::text = ANY (%s::text[]))").format(what)
    query = sql.SQL("SELECT count({}){}, count(*) FROM (SELECT * FROM {} LIMIT {}) AS sample").format(
        what, test, sql.SQL(table), sql.Literal(COUNT_UP_TO + 1)
    )
    try:
        with gently(connection):
            fetch_value(connection, "SELECT set_config('statement_timeout', %s, true)", (f"{COUNT_WITHIN:.0f}s",))
            [(count, rows)] = fetch_all(connection, query.as_string(connection), None if labels is None else (labels,))
    except (psycopg2.errors.LockNotAvailable, psycopg2.errors.QueryCanceled):
        return f"{noun}s that could not be counted"
    except psycopg2.errors.UndefinedColumn:
        return None
    more = "more than " if int(str(rows)) > COUNT_UP_TO else ""
    number = min(int(str(count)), COUNT_UP_TO)
    return f"{more}{number:,} {noun}{'' if number == 1 else 's'}"


def _named(text: str) -> tuple[str, str]:
    """Return the column that a text begins with, as PostgreSQL quotes it, and the rest."""
    match = re.match(r'("(?:[^"]|"")*"|\S*) ?(.*)', text, re.DOTALL)
    assert match
    return match[1], match[2]


def _array(labels: Iterable[str]) -> str:
    """Return the text of a PostgreSQL array."""
    quoted = (label.replace("\\", "\\\\").replace('"', '\\"') for label in labels)
    return "{" + ",".join(one if re.fullmatch(r"[\w-]+", one) and one != "NULL" else f'"{one}"' for one in quoted) + "}"


_HELD = """
SELECT a.attrelid, a.attnum, coalesce(pg_partition_root(c.oid), c.oid)::regclass::text, c.relispartition, quote_ident(a.attname),
       format_type(a.atttypid, a.atttypmod),
       (SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = a.atttypid),
       a.atttypid::int8, a.attgenerated <> ''
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p')
   AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
   AND c.relname NOT IN ('alembic_version', 'migration_ledger')
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""
