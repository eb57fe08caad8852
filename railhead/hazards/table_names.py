"""How does the name of a table, as PostgreSQL tells it, read in a call of `op`?"""

from __future__ import annotations

from railhead.diagnosis.violations import python
from railhead.postgres.quoting import unquoted
from railhead.schema.kept_lines import split_identity


def parts(table: str) -> tuple[str | None, str]:
    """Return the schema, None where it is found without, and the name, both without quotes: `events."Role"` is ("events", "Role")."""
    _, place, name = split_identity(f"table {table}")
    return unquoted(place) or None, unquoted(name)


def bare(table: str) -> str:
    """Return the name of a table without its schema and without quotes."""
    return parts(table)[1]


def of_sql(name: str) -> str:
    """Return a name that stands in SQL as PostgreSQL understands it: in small letters, unless it is quoted."""
    return unquoted(name) if name.startswith('"') else name.lower()


def in_words(table: str) -> dict[str, str]:
    """Return what advice says of a table: `{name}` and `{schema}` in a call, `{copy}` for SQL that keeps it."""
    schema, name = parts(table)
    kept = f"{table[:-1]}_kept{table[-1]}" if table.endswith('"') else f"{table}_kept"
    return {
        "name": python(name),
        "schema": f", schema={python(schema)}" if schema else "",
        "source_schema": f", source_schema={python(schema)}" if schema else "",
        "copy": python(f"CREATE TABLE {kept} AS TABLE {table}"),
    }
