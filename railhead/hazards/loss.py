"""What does a revision take away from rows that are there?

Seen on a scratch database, by the numbers that PostgreSQL gives to tables and columns: what is renamed keeps its number. How much of it is
there is counted elsewhere, on the database at hand.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from psycopg2.extensions import connection as Connection

from railhead.hazards.narrowing import ALL_KEPT, misfits
from railhead.postgres.connection import fetch_all
from railhead.postgres.quoting import literal
from railhead.project import IS_OWN


class Held(NamedTuple):
    """A column that can hold something."""

    table: str
    """As PostgreSQL writes it; a partition counts as its parent."""
    partition: str | None
    """Its own name, where it is one."""
    column: str
    type: str
    """Of a domain the one below it."""
    labels: list[str] | None
    """The values of an enum, or of one in an array; None for other types."""
    enum: int | None
    """The number of that enum."""
    is_computed: bool


class Loss(NamedTuple):
    """What is taken away from a table.

    `table`, `rows`, `partition NAME`, `column NAME`, `type NAME OLD to NEW` (with the values of an enum behind it), `values NAME {...}`.
    """

    table: str
    what: str

    @property
    def words(self) -> str:
        """Return it for people, to be followed by `of TABLE`."""
        kind, name, rest = self.parts
        match kind:
            case "table":
                return "all rows and columns"
            case "rows":
                return "rows"
            case "partition":
                return f"the partition {name}" if name else "a partition"
            case "column":
                return f"the column {name}"
            case "type":
                return f"what does not fit into {name} as {_types(rest)[1]} any more"
            case _:
                return f"the values {rest} of {name}"

    @property
    def parts(self) -> tuple[str, str, str]:
        """Return its kind, the name of the column or partition as PostgreSQL quotes it, and the rest."""
        kind, _, rest = self.what.partition(" ")
        match = _NAME.match(rest)
        assert match
        return kind, match[1], match[2]

    def renamed(self, table: str, column: str | None = None) -> Loss:
        """Return the same loss of a table, and of a column, that have other names now."""
        kind, name, rest = self.parts
        column_name = name if column is None else column
        return Loss(table, " ".join(filter(None, (kind, column_name, rest))))

    def condition(self, server: int) -> str | None:
        """Return the condition for rows that lose something, as far as it can be told; `true` where that is every one."""
        kind, name, rest = self.parts
        if kind == "values":
            return f"ARRAY[{name}]::text[] && {literal(rest)}::text[]"  # an array in an array is as flat
        if kind != "type":
            return f"{name} IS NOT NULL" if kind == "column" else "true"
        old, new, labels = _types(rest)
        return misfits(name, old, new, labels, server)


def held(connection: Connection) -> dict[tuple[int, int], Held]:
    """Return every column there is, by the numbers of its table and its own. Read-only."""
    return {
        (int(str(table)), int(str(number))): Held(*rest)  # type: ignore[arg-type]  # the columns are Held's, in its order
        for table, number, *rest in fetch_all(connection, _HELD)
    }


def losses(before: Mapping[tuple[int, int], Held], after: Mapping[tuple[int, int], Held]) -> Iterator[Loss]:
    """Yield what is gone or narrower, each once."""
    standing = {table for table, _ in after}
    names = {after[key].table for key in after}
    lost: dict[Loss, None] = {}
    for (table, number), was in before.items():
        current = after.get((table, number))
        if table not in standing:
            kept = was.partition and was.table in names
            lost[Loss(was.table, f"partition {was.partition}" if kept else "table")] = None
        elif was.is_computed:
            continue
        elif current is None:
            lost[Loss(was.table, f"column {was.column}")] = None
        elif narrower := _narrower(was, current):
            lost[Loss(was.table, narrower)] = None
    yield from lost


def _narrower(was: Held, now: Held) -> str | None:
    if was.labels is not None and now.labels is not None and was.type.endswith("[]") == now.type.endswith("[]"):
        missing = [label for label in was.labels if label not in now.labels]
        is_other = was.enum != now.enum  # in the same type a value can only have another name
        return f"values {was.column} {_array(missing)}" if missing and is_other else None
    labels = None if now.labels is None else tuple(now.labels)
    if was.type == now.type or misfits(was.column, was.type, now.type, labels, 0) == ALL_KEPT:
        return None
    return f"type {was.column} {was.type} to {now.type}" + ("" if labels is None else f" {_array(labels)}")


def _types(text: str) -> tuple[str, str, tuple[str, ...] | None]:
    """Return what `OLD to NEW {labels}` names."""
    match = _CHANGE.fullmatch(text)
    assert match
    labels = None if match["labels"] is None else tuple(map(_plain, _LABEL.findall(match["labels"])))
    return match["old"], match["new"], labels


def _array(labels: Iterable[str]) -> str:
    """Return the text of a PostgreSQL array."""
    quoted = (label.replace("\\", "\\\\").replace('"', '\\"') for label in labels)
    return (
        "{"
        + ",".join(text if re.fullmatch(r"[\w-]+", text) and text != "NULL" else f'"{text}"' for text in quoted)
        + "}"
    )


def _plain(quoted: str) -> str:
    """Return an element of an array's text as it is."""
    return re.sub(r"\\(.)", r"\1", quoted[1:-1], flags=re.DOTALL) if quoted.startswith('"') else quoted


_NAME = re.compile(r'((?:"(?:[^"]|"")*"|[^\s"])*) ?(.*)', re.DOTALL)
_CHANGE = re.compile(r"(?P<old>interval \w+ to \w+(?:\(\d\))?|.+?) to (?P<new>.+?)(?: \{(?P<labels>.*)\})?", re.DOTALL)
_LABEL = re.compile(r'"(?:[^"\\]|\\.)*"|[^",]+', re.DOTALL)

_HELD = """
SELECT a.attrelid, a.attnum, coalesce(pg_partition_root(c.oid), c.oid)::regclass::text,
       CASE WHEN c.relispartition THEN c.oid::regclass::text END, quote_ident(a.attname),
       CASE t.typtype WHEN 'd' THEN format_type(t.typbasetype, t.typtypmod) ELSE format_type(a.atttypid, a.atttypmod) END,
       CASE e.typtype WHEN 'e' THEN (SELECT array_agg(enumlabel::text ORDER BY enumsortorder) FROM pg_enum WHERE enumtypid = e.oid) END,
       CASE e.typtype WHEN 'e' THEN e.oid::int8 END, a.attgenerated <> ''
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_type t ON t.oid = a.atttypid
  JOIN pg_type b ON b.oid = CASE t.typtype WHEN 'd' THEN t.typbasetype ELSE t.oid END
  JOIN pg_type e ON e.oid = CASE b.typcategory WHEN 'A' THEN b.typelem ELSE b.oid END
 WHERE a.attnum > 0 AND NOT a.attisdropped AND c.relkind IN ('r', 'p')
   AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""
_HELD += f" AND NOT {IS_OWN}"
