"""What did PostgreSQL say, taken apart?

One record of an error, its names as SQL writes them. Never connects: what only the database knows is asked through the `Ask` that
the caller gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import psycopg2
from psycopg2.extensions import parse_dsn

from railhead.postgres.observed import Observed
from railhead.postgres.quoting import quoted_name, unquoted

Ask = Callable[[str, tuple[object, ...]], object]
"""Gives the first value that a question is answered with; None when there is none, or nobody answers."""

NAME = r'(?:"(?:[^"]|"")+"|[\w.]+)+'
"""A name in SQL, schema and all."""

_PART = r'"(?:[^"]|"")+"|[\w$]+'

FOREIGN_KEY = re.compile(
    rf"FOREIGN\s+KEY\s*\((.+?)\)\s*REFERENCES\s+({NAME})\s*(?:\((.+?)\))?", re.IGNORECASE | re.DOTALL
)
_CHECK = re.compile(r"\bCHECK\s*(?=\()", re.IGNORECASE)

_QUOTED = re.compile(r"[\"«„“](.+?)[\"»“”]")
"""A name in a sentence of PostgreSQL's, which may speak the language of its operator (lc_messages)."""

_KEY = re.compile(r"\((.+?)\)=\(")
"""The columns in `Key (name)=(a) is duplicated.`"""

_BUILDS = re.compile(r"\s*(?:CREATE\s+UNIQUE\s+INDEX|ALTER\s+(?:TABLE|DOMAIN))", re.IGNORECASE)
_MAKES_INDEX = re.compile(
    r"\s*(?:CREATE\s+(?:UNIQUE\s+)?INDEX|ALTER\s+TABLE\b.*\bADD\s+CONSTRAINT)", re.IGNORECASE | re.DOTALL
)
_KINDS = (
    "column",
    "type",
    "enum label",
    "constraint",
    "index",
    "table",
    "view",
    "materialized view",
    "sequence",
    "schema",
    "function",
    "extension",
    "trigger",
    "policy",
    "role",
)


_IN_SCHEMAS = {"table", "view", "materialized view", "sequence", "type", "function", "object"}


class Failure(NamedTuple):
    """What PostgreSQL said, taken apart. Names are as SQL writes them, and empty where it did not tell."""

    code: str
    sentence: str
    detail: str
    hint: str
    table: str
    column: str
    constraint: str
    schema: str
    statement: str
    revision: str
    file: str
    login: str
    """Who had logged in, as far as the connection's address says."""
    in_force: str
    """The role that SQL had put into force, as it is written there; empty where it was the one that has logged in."""
    ask: Ask

    @property
    def names(self) -> list[str]:
        """Return what stands in quotation marks in PostgreSQL's sentence."""
        return _QUOTED.findall(self.sentence)

    @property
    def name(self) -> str:
        """Return the first of the names, as SQL writes it; PostgreSQL names a missing table, or type, with its schema."""
        if not self.names:
            return "it"
        if self.code in {"42P01", "42704"}:
            return ".".join(map(quoted_name, self.names[0].split(".", 1)))
        name = quoted_name(self.names[0])
        if self.kind == "index":
            return self._beside(name)
        return self._located(name) if self.kind in _IN_SCHEMAS else name

    @property
    def last_word(self) -> str:
        """Return what the sentence ends with: `task` in `permission denied for table task`."""
        return quoted_name(self.sentence.split(" ")[-1].strip('"'))

    @property
    def denied(self) -> str:
        """Return what the sentence ends with, with the schema that the statement names it in: PostgreSQL leaves that out."""
        return self._located(self.last_word)

    def _located(self, name: str) -> str:
        """Return a name with the schema that the statement names it in."""
        same = rf'{re.escape(name)}|"{re.escape(name)}"'
        match = re.search(rf"({_PART})\s*\.\s*(?:{same})(?![\w$])", self.statement, re.IGNORECASE)
        return f"{match[1]}.{name}" if match else name

    def _beside(self, index: str) -> str:
        """Return the name of an index with the schema of its table, where it is."""
        match = re.search(rf"\bON\s+(?:ONLY\s+)?({_PART})\s*\.\s*(?:{_PART})", self.statement, re.IGNORECASE)
        return f"{match[1]}.{index}" if match else index

    @property
    def relation(self) -> str:
        """Return the second of the names: the table in `column "n" of relation "task" already exists`."""
        return self._located(quoted_name(self.names[1])) if len(self.names) > 1 else ""

    @property
    def path(self) -> str:
        """Return what the sentence is about, with its table: `task.n`."""
        return f"{self.relation}.{self.name}" if self.relation else self.name

    @property
    def kind(self) -> str:
        """Return what kind of thing the sentence is about; what PostgreSQL calls a relation is told from the statement."""
        if self.sentence.startswith("relation "):
            is_made = self.code == "42P07" and _MAKES_INDEX.match(self.statement)
            return "index" if is_made else "table"
        noun = next((kind for kind in _KINDS if self.sentence.startswith(f"{kind} ")), "object")
        return "enum value" if noun == "enum label" else noun

    @property
    def builds(self) -> bool:
        """Tell whether the statement builds an index or a constraint, rather than writing a row that breaks one."""
        return bool(_BUILDS.match(self.statement))

    @property
    def rows(self) -> str:
        """Return whose rows it is about; a trigger of somebody's own does not tell, nor does a domain."""
        return f"rows of {self.table}" if self.table else "rows"

    @property
    def place(self) -> str:
        """Return the table, the column in it if there is one."""
        return f"{self.table}.{self.column}" if self.column else self.table

    @property
    def key(self) -> str:
        """Return the columns that the detail names: `name` in `Key (name)=(a) is duplicated.`"""
        match = _KEY.search(self.detail)
        return match[1] if match else ""

    @property
    def definition(self) -> str:
        """Return how the violated constraint is made: from the statement that makes it, or from the database."""
        if not self.constraint:  # of a domain, a partition, somebody's trigger: the database does not know it either
            return self.statement
        _, name, rest = self.statement.partition(self.constraint)
        if name and (FOREIGN_KEY.search(rest) or condition_of(rest)):
            return rest
        return str(self.ask(_CONSTRAINT, (self.constraint, self.schema, self.table)) or "")

    @property
    def role(self) -> str:
        """Return who migrates."""
        if self.in_force:
            return quoted_name(unquoted(self.in_force.strip("'")))
        return quoted_name(str(self.ask("SELECT current_user", ()) or self.login or "the_role"))


def of(error: psycopg2.Error, statement: str, revision: str, file: str, ask: Ask) -> Failure:
    """Return an error taken apart: `statement` is what failed, in `file` of `revision`."""
    diagnostics = error.diag
    schema = diagnostics.schema_name or ""
    prefix = "" if schema in {"", "public"} else f"{quoted_name(schema)}."
    return Failure(
        code=error.pgcode or "",
        sentence=diagnostics.message_primary or "",
        detail=diagnostics.message_detail or "",
        hint=diagnostics.message_hint or "",
        table=f"{prefix}{quoted_name(diagnostics.table_name)}" if diagnostics.table_name else "",
        column=quoted_name(diagnostics.column_name or ""),
        constraint=diagnostics.constraint_name or "",
        schema=schema,
        statement=statement,
        revision=revision,
        file=file,
        login=_login(error),
        in_force=_in_force(error),
        ask=ask,
    )


def condition_of(definition: str) -> str | None:
    """Return what a check asks for, without its brackets, of however many lines; None when there is no check."""
    match = _CHECK.search(definition)
    if match is None:
        return None
    depth = 0
    for piece in _PIECE.finditer(definition, match.end()):
        depth += {"(": 1, ")": -1}.get(piece[0], 0)
        if not depth:
            return definition[match.end() + 1 : piece.start()].strip()
    return None


_PIECE = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|.", re.DOTALL)
"""A text, a quoted name, or one letter of SQL: brackets in the first two count for nothing."""


def _in_force(error: psycopg2.Error) -> str:
    connection = getattr(error.cursor, "connection", None)
    return connection.role or "" if isinstance(connection, Observed) else ""


def _login(error: psycopg2.Error) -> str:
    session = error.cursor  # None where no statement was executed; its connection is closed by now
    return str(parse_dsn(session.connection.dsn).get("user", "")) if session else ""


_CONSTRAINT = """
SELECT pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
 WHERE c.conname = %s AND n.nspname = %s AND c.conrelid = to_regclass(%s)
"""
