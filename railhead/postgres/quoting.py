"""How are names and texts written into SQL?"""

from __future__ import annotations

import re


def qualified(name: str, schema: str | None) -> str:
    """Return a name in quotes, with its schema if there is one."""
    return f"{quoted(schema)}.{quoted(name)}" if schema else quoted(name)


def quoted(name: str) -> str:
    """Return a name in quotes."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def escaped(sql: str) -> str:
    """Return SQL for SQLAlchemy's text(), which reads `:name` as a parameter."""
    return sql.replace(":", "\\:")


def full_name(schema: str | None, name: str) -> str:
    """Return a name for people, with its schema if there is one."""
    return f"{schema}.{name}" if schema else name


def in_schema(schema: str | None, name: str) -> str:
    """Return a name as the catalog writes it: `public` is not said."""
    return full_name(None if schema == "public" else schema, name)


def quoted_name(name: str) -> str:
    """Return a name as SQL writes it: in quotation marks where it needs them."""
    return name if not name or re.fullmatch(r"[a-z_][a-z0-9_$]*", name) else '"' + name.replace('"', '""') + '"'


def unquoted(name: str) -> str:
    """Return a name that SQL writes as it is."""
    return name[1:-1].replace('""', '"') if name.startswith('"') else name
