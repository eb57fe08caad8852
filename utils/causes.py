"""What does PostgreSQL's error mean for who wrote the migration?

One table, `CASES`, from SQLSTATE to a slug, a headline and advice with the reader's own names. Never connects: what it takes to
name the rows, the role or the constraint is asked through the `Ask` that the caller gives.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import psycopg2

Ask = Callable[[str, tuple[object, ...]], object]
"""Gives the first value that a question is answered with; None when there is none, or nobody answers."""

_QUOTED = re.compile(r"[\"«„“](.+?)[\"»“”]")
"""A name in a sentence of PostgreSQL's, which may speak the language of its operator (lc_messages)."""

_NAME = r'(?:"(?:[^"]|"")+"|[\w.]+)+'
_FOREIGN_KEY = re.compile(rf"FOREIGN KEY\s*\((.+?)\)\s*REFERENCES\s+({_NAME})\s*(?:\((.+?)\))?", re.IGNORECASE)
_CHECK = re.compile(r"CHECK\s*\((.*)\)", re.IGNORECASE | re.DOTALL)
_KEY = re.compile(r"\((.+?)\)=\(")
"""The columns in `Key (name)=(a) is duplicated.`"""

_BUILDS = re.compile(r"\s*(?:CREATE\s+UNIQUE\s+INDEX|ALTER\s+TABLE)", re.IGNORECASE)
_MAKES_INDEX = re.compile(
    r"\s*(?:CREATE\s+(?:UNIQUE\s+)?INDEX|ALTER\s+TABLE\b.*\bADD\s+CONSTRAINT)", re.IGNORECASE | re.DOTALL
)
_PARTIAL = re.compile(r"\sWHERE\s(.*)$", re.IGNORECASE | re.DOTALL)
_ADD_COLUMN = re.compile(r"\bADD\s+(?:COLUMN\s+)?(?!CONSTRAINT)", re.IGNORECASE)
_ADD_VALUE = re.compile(rf"ALTER\s+TYPE\s+({_NAME})\s+ADD\s+VALUE", re.IGNORECASE)
_TRUTH_OF_A_CHECK = "_is_not_null"
"""How the check that `op.set_not_null` validates ends, behind the name of its column."""


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
    ask: Ask

    @property
    def names(self) -> list[str]:
        """Return what stands in quotation marks in PostgreSQL's sentence."""
        return _QUOTED.findall(self.sentence)

    @property
    def name(self) -> str:
        """Return the first of the names, as SQL writes it; PostgreSQL names a missing table with its schema."""
        if self.code == "42P01":
            return ".".join(map(_quoted, self.names[0].split(".", 1))) if self.names else "it"
        return _quoted(self.names[0]) if self.names else "it"

    @property
    def last_word(self) -> str:
        """Return what the sentence ends with: `task` in `permission denied for table task`."""
        return _quoted(self.sentence.split(" ")[-1].strip('"'))

    @property
    def relation(self) -> str:
        """Return the second of the names: the table in `column "n" of relation "task" already exists`."""
        return _quoted(self.names[1]) if len(self.names) > 1 else ""

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
        told = next((kind for kind in _KINDS if self.sentence.startswith(f"{kind} ")), "object")
        return "enum value" if told == "enum label" else told

    @property
    def builds(self) -> bool:
        """Tell whether the statement builds an index or a constraint, rather than writing a row that breaks one."""
        return bool(_BUILDS.match(self.statement))

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
        _, found, rest = self.statement.partition(self.constraint)
        if found and (_FOREIGN_KEY.search(rest) or _CHECK.search(rest)):
            return rest
        return str(self.ask(_CONSTRAINT, (self.constraint, self.schema, self.table)) or "")

    @property
    def role(self) -> str:
        """Return who migrates."""
        return _quoted(str(self.ask("SELECT current_user", ()) or "the_role"))


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

Words = str | Callable[[Failure], str]


class Case(NamedTuple):
    """What one SQLSTATE means. Words in braces are names of a Failure."""

    slug: Words
    headline: Words
    advice: Words


class Cause(NamedTuple):
    """Why a migration failed, said with the reader's names."""

    slug: str
    headline: str
    advice: str


def find(error: psycopg2.Error, statement: str, revision: str, file: str, ask: Ask) -> Cause | None:
    """Return what an error means, None when it is none that we know. Asks, at most, what `ask` answers."""
    code = error.pgcode or ""
    case = CASES.get(code)
    if case is None:
        return None
    failure = _failure(error, statement, revision, file, ask)
    return Cause(*(_said(words, failure) for words in case))


def _failure(error: psycopg2.Error, statement: str, revision: str, file: str, ask: Ask) -> Failure:
    told = error.diag
    schema = told.schema_name or ""
    prefix = "" if schema in {"", "public"} else f"{_quoted(schema)}."
    return Failure(
        code=error.pgcode or "",
        sentence=told.message_primary or "",
        detail=told.message_detail or "",
        hint=told.message_hint or "",
        table=f"{prefix}{_quoted(told.table_name)}" if told.table_name else "",
        column=_quoted(told.column_name or ""),
        constraint=told.constraint_name or "",
        schema=schema,
        statement=statement,
        revision=revision,
        file=file,
        ask=ask,
    )


def _said(words: Words, failure: Failure) -> str:
    return words(failure) if callable(words) else _Names(failure).fill(words)


class _Names:
    """Fills the braces of a text; asks for a name only when the text has it."""

    def __init__(self, failure: Failure) -> None:
        self._failure = failure

    def fill(self, text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda match: str(getattr(self._failure, match[1])), text)


def _quoted(name: str) -> str:
    return name if not name or re.fullmatch(r"[a-z_][a-z0-9_$]*", name) else '"' + name.replace('"', '""') + '"'


def _is_there_slug(failure: Failure) -> str:
    return f"duplicate-{failure.kind.replace(' ', '-')}"


def _is_there_advice(failure: Failure) -> str:
    if failure.kind == "type":
        return _type_advice(failure)
    if failure.kind == "enum value":
        match = _ADD_VALUE.search(failure.statement)
        value = failure.names[0].replace("'", "''") if failure.names else "..."
        return (
            f"if it is the same value, let {failure.file} say:\n"
            f"op.execute(\"ALTER TYPE {match[1] if match else '...'} ADD VALUE IF NOT EXISTS '{value}'\")"
        )
    gone = {
        "index": f"DROP INDEX CONCURRENTLY {failure.name};",
        "column": f"ALTER TABLE {failure.relation} RENAME COLUMN {failure.name} TO {_renamed(failure)};",
        "constraint": f"ALTER TABLE {failure.relation} DROP CONSTRAINT {failure.name};",
        "table": f"ALTER TABLE {failure.name} RENAME TO {_renamed(failure)};",
    }
    return (
        f"look who made {failure.path}:\npython utils/migrate.py drift\n"
        f"if all that {failure.revision} does is there (done by hand, or by create_all):\nalembic stamp {failure.revision}\n"
        "else put it out of the way:\n" + gone.get(failure.kind, f"drop or rename the {failure.kind} {failure.name}")
    )


def _renamed(failure: Failure) -> str:
    return _quoted(f"{failure.names[0][:59] if failure.names else 'it'}_old")


def _type_advice(failure: Failure) -> str:
    users = failure.ask(_COLUMNS_OF_TYPE, (failure.names[0] if failure.names else "",))
    if users is None:
        return (
            "no column uses it: a dropped table left it behind (PostgreSQL keeps the type). Take it away:\n"
            f"DROP TYPE {failure.name};\n"
            f'and let the downgrade that drops the table say:\nop.execute("DROP TYPE {failure.name}")'
        )
    return (
        f"it is in use by {users}. To use it in one more table, let {failure.file} say:\n"
        f'postgresql.ENUM(..., name="{failure.names[0]}", create_type=False)'
    )


def _duplicate_rows(failure: Failure) -> str:
    key = failure.key or "..."
    if not failure.builds:
        return (
            f"a row with that {key} is there already; let {failure.file} leave it alone:\n"
            f"INSERT INTO {failure.table} ... ON CONFLICT ({key}) DO NOTHING"
        )
    partial = _PARTIAL.search(failure.statement)
    where = f" WHERE {' '.join(partial[1].split())}" if partial else ""
    return (
        "find the rows that are there more than once, and decide which stays:\n"
        f"SELECT {key}, count(*) FROM {failure.table}{where} GROUP BY {key} HAVING count(*) > 1;"
    )


def _lost_references(failure: Failure) -> str:
    if _is_deleted(failure):
        return (
            f"rows of {failure.table} still point at it; let {failure.file} change or delete them first,\n"
            f"or let the constraint say what becomes of them (ON DELETE CASCADE, SET NULL)"
        )
    match = _FOREIGN_KEY.search(failure.definition)
    if not failure.builds or match is None:
        return f"let {failure.file} write the row that is pointed at first, see the detail above"
    columns, other = _columns(match[1]), match[2]
    others = _columns(match[3] or "id")
    same = " AND ".join(f"o.{there} = t.{here}" for here, there in zip(columns, others, strict=False))
    given = " AND ".join(f"t.{column} IS NOT NULL" for column in columns)
    return (
        f"find the rows that point at nothing, and correct or delete them:\n"
        f"SELECT t.* FROM {failure.table} t\n WHERE {given} AND NOT EXISTS (SELECT FROM {other} o WHERE {same});"
    )


def _is_deleted(failure: Failure) -> bool:
    """Tell whether it is about rows that others point at: the sentence then begins with another table than the constraint's."""
    return bool(failure.names) and _quoted(failure.names[0]) != failure.table.rpartition(".")[2]


def _lost_references_headline(failure: Failure) -> str:
    return f"rows of {failure.table} {'still point at what is deleted' if _is_deleted(failure) else 'point at nothing'}"


def _duplicate_rows_headline(failure: Failure) -> str:
    return (
        f"rows of {failure.table} are there more than once"
        if failure.builds
        else f"a row of {failure.table} is there already"
    )


def _columns(listed: str) -> list[str]:
    return [column.strip() for column in listed.split(",")]


def _rows_that_fail(failure: Failure) -> str:
    if failure.constraint.endswith(_TRUTH_OF_A_CHECK):
        return _nulls(failure._replace(column=_quoted(failure.constraint.removesuffix(_TRUTH_OF_A_CHECK))))
    match = _CHECK.search(failure.definition)
    if match is None or not failure.builds:
        return f"let {failure.file} write values that {failure.constraint} allows, see the detail above"
    return (
        "find the rows that break it, and correct them (op.backfill does it in batches):\n"
        f"SELECT * FROM {failure.table} WHERE NOT {_bracketed(match[1])} LIMIT 20;"
    )


def _bracketed(condition: str) -> str:
    """Return a condition in one pair of brackets; PostgreSQL may have put it into a pair already."""
    return (
        condition
        if condition.startswith("(") and condition.endswith(")") and ")" not in condition[1:-1]
        else f"({condition})"
    )


def _no_values(failure: Failure) -> str:
    if re.match(r"\s*(?:INSERT|UPDATE|MERGE)", failure.statement, re.IGNORECASE):
        return f"let {failure.file} give {failure.place} a value"
    if _ADD_COLUMN.search(failure.statement):
        return (
            f"the rows that are there have no {failure.column}. Give them one where the column is added:\n"
            f"nullable=False, server_default=...\n"
            f"or add it nullable, and in the next revision:\n{_backfill(failure)}\n{_set_not_null(failure)}"
        )
    return f"{_nulls(failure)}\nand here, because it does not stop traffic:\n{_set_not_null(failure)}"


def _nulls(failure: Failure) -> str:
    return (
        "find the rows without a value, and give them one:\n"
        f"SELECT * FROM {failure.table} WHERE {failure.column} IS NULL LIMIT 20;\n"
        f"in a revision before this one, in batches:\n{_backfill(failure)}"
    )


def _backfill(failure: Failure) -> str:
    column = failure.column
    return f"op.backfill({_table(failure)}, {_python(f'{column} = ...')}, {_python(f'{column} IS NULL')}{_schema(failure)})"


def _set_not_null(failure: Failure) -> str:
    return f"op.set_not_null({_table(failure)}, {_python(_plain(failure.column))}{_schema(failure)})"


def _table(failure: Failure) -> str:
    prefix = f"{_quoted(failure.schema)}."
    return _python(_plain(failure.table.removeprefix(prefix)))


def _schema(failure: Failure) -> str:
    return f", schema={_python(failure.schema)}" if failure.schema not in {"", "public"} else ""


def _plain(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def _python(text: str) -> str:
    """Return `text` as Python writes it, in double quotes where that needs no backslashes."""
    return repr(text) if '"' in text or "\\" in text else f'"{text}"'


def _rejected_slug(failure: Failure) -> str:
    return "not-null-violation" if failure.constraint.endswith(_TRUTH_OF_A_CHECK) else "check-violation"


def _rejected_headline(failure: Failure) -> str:
    if failure.constraint.endswith(_TRUTH_OF_A_CHECK):
        return f"rows of {failure.table} have no {failure.constraint.removesuffix(_TRUTH_OF_A_CHECK)}"
    return f"rows of {failure.table} break {failure.constraint}"


def _grant(failure: Failure) -> str:
    role = failure.role
    as_owner = "let the role that owns the schema migrate (MIGRATE_DATABASE_URL)"
    if failure.sentence.startswith("must be owner of "):
        return _ownership(failure, as_owner)
    kind = next(
        (
            one
            for one in ("schema", "database", "table", "view", "sequence", "function")
            if f"for {one} " in failure.sentence
        ),
        "",
    )
    if kind:
        rights = {"schema": "USAGE, CREATE", "database": "CREATE", "function": "EXECUTE", "sequence": "USAGE"}
        noun = {"schema": "SCHEMA ", "database": "DATABASE ", "sequence": "SEQUENCE ", "function": "FUNCTION "}
        right = rights.get(kind, _right(failure.statement))
        return (
            f"{as_owner}, or as an administrator:\nGRANT {right} ON {noun.get(kind, '')}{failure.last_word} TO {role};"
        )
    if "extension" in failure.sentence and "CREATE privilege" in failure.hint:
        database = _quoted(str(failure.ask("SELECT current_database()", ()) or "the_database"))
        return f"as an administrator:\nGRANT CREATE ON DATABASE {database} TO {role};"
    if "extension" in failure.sentence:
        return f"once, as an administrator of the server:\nCREATE EXTENSION IF NOT EXISTS {failure.name};\nand IF NOT EXISTS in {failure.file} too"
    return f"{as_owner},\nor let an administrator do what {failure.file} asks for"


def _ownership(failure: Failure, as_owner: str) -> str:
    """Return how to become the owner; a superuser's own role is nothing to grant."""
    owner = failure.ask(_OWNER, (failure.last_word, failure.last_word))
    if owner:
        return f"{as_owner}, or as {owner}:\nGRANT {_quoted(str(owner))} TO {failure.role};"
    kind = failure.sentence.split(" ")[4].upper()
    if kind == "INDEX":
        return f"{as_owner},\nor give the role the table that {failure.last_word} belongs to"
    return f"{as_owner}, or as an administrator:\nALTER {kind} {failure.last_word} OWNER TO {failure.role};"


def _right(statement: str) -> str:
    verb = (statement.split() or [""])[0].upper()
    return {"SELECT": "SELECT", "INSERT": "INSERT", "UPDATE": "SELECT, UPDATE", "DELETE": "SELECT, DELETE"}.get(
        verb, "SELECT, REFERENCES"
    )


def _is_missing_headline(failure: Failure) -> str:
    if failure.sentence.startswith("function "):
        return f"the {failure.sentence}"
    return f"the {failure.kind} {failure.path} does not exist" if failure.names else failure.sentence


def _is_missing_advice(failure: Failure) -> str:
    if failure.kind == "type":
        return (
            f"correct the name in {failure.file}, or make the type there first (add_column does not):\n"
            f"postgresql.ENUM(..., name={_python(failure.names[0])}).create(op.get_bind())"
        )
    return (
        "see whether somebody removed it outside the migrations:\npython utils/migrate.py drift\n"
        f"else correct the name in {failure.file}"
    )


def _cancelled_slug(failure: Failure) -> str:
    return "statement-timeout" if "timeout" in failure.sentence else "cancelled"


def _cancelled_headline(failure: Failure) -> str:
    return "a statement took too long" if "timeout" in failure.sentence else "somebody cancelled a statement"


def _cancelled_advice(failure: Failure) -> str:
    if "timeout" in failure.sentence:
        return (
            "give it more time (MIGRATE_STATEMENT_TIMEOUT, 0 for no limit), or do the work in small pieces:\n"
            "op.backfill, op.create_index_concurrently and op.validate_constraint do not stop traffic"
        )
    return "ask who called pg_cancel_backend, and whether it may run now"


def _read_only_advice(failure: Failure) -> str:
    if failure.ask("SELECT pg_is_in_recovery()", ()):
        return "this server is a standby; name the primary, or several hosts:\npostgresql://user@host1,host2/name?target_session_attrs=read-write"
    database = _quoted(str(failure.ask("SELECT current_database()", ()) or "the_database"))
    return (
        "somebody made the database or the role read-only; as an administrator:\n"
        f"ALTER DATABASE {database} RESET default_transaction_read_only;\n"
        f"ALTER ROLE {failure.role} RESET default_transaction_read_only;"
    )


def _disk_advice(failure: Failure) -> str:
    size = failure.ask("SELECT pg_size_pretty(pg_database_size(current_database()))", ())
    return (
        f"make the volume larger, or free space{f' (this database has {size})' if size else ''}; what takes most:\n"
        "SELECT oid::regclass, pg_size_pretty(pg_total_relation_size(oid)) FROM pg_class\n"
        " WHERE relkind IN ('r', 'm') ORDER BY pg_total_relation_size(oid) DESC LIMIT 10;"
    )


_IS_THERE = Case(_is_there_slug, "the {kind} {path} is there already", _is_there_advice)
_IS_MISSING = Case("undefined-object", _is_missing_headline, _is_missing_advice)

_CORRECT_VALUES = (
    "correct the value in {file}; or, if the type of a column changes there, the rows in a revision before it"
)

CASES: dict[str, Case] = {
    "42P07": _IS_THERE,
    "42701": _IS_THERE,
    "42710": _IS_THERE,
    "42P06": _IS_THERE,
    "42723": _IS_THERE,
    "55P04": Case(
        "enum-value-too-new",
        "the new enum value {name} is used in the transaction that adds it",
        "each revision has a transaction of its own: leave ADD VALUE in {file}, and put what uses\n"
        'the value into the next one:\nalembic revision -m "use {name}"',
    ),
    "23505": Case("unique-violation", _duplicate_rows_headline, _duplicate_rows),
    "23503": Case("foreign-key-violation", _lost_references_headline, _lost_references),
    "23502": Case("not-null-violation", "rows of {table} have no {column}", _no_values),
    "23514": Case(_rejected_slug, _rejected_headline, _rows_that_fail),
    "23P01": Case(
        "exclusion-violation",
        "rows of {table} exclude each other",
        "correct the rows that the detail above names; there may be more, so look at all of {table} first",
    ),
    "42501": Case("missing-privilege", "the role may not do that", _grant),
    "42P01": _IS_MISSING,
    "42703": _IS_MISSING,
    "42704": _IS_MISSING,
    "42883": _IS_MISSING,
    "3F000": _IS_MISSING,
    "57014": Case(_cancelled_slug, _cancelled_headline, _cancelled_advice),
    "55P03": Case(
        "lock-timeout",
        "a lock was not free",
        "see who holds it, wait until he is done, and start again:\nSELECT * FROM pg_stat_activity WHERE state <> 'idle';",
    ),
    "53100": Case("disk-full", "the server's disk is full", _disk_advice),
    "53200": Case(
        "out-of-memory",
        "the server has no memory left",
        "do the work in smaller pieces (op.backfill), or give it more memory",
    ),
    "25006": Case("read-only", "the server takes no changes", _read_only_advice),
    "2BP01": Case(
        "still-needed",
        "other objects depend on what is dropped",
        "let {file} drop first what the detail above names, or say CASCADE if all of it may go",
    ),
    "42804": Case(
        "no-cast",
        "PostgreSQL does not know how to turn the old values into the new type",
        'say how in {file}, in alter_column:\npostgresql_using="{name}::..."',
    ),
    "22P02": Case("bad-value", "a value does not fit its type", _CORRECT_VALUES),
    "22001": Case("bad-value", "a value is too long for its type", _CORRECT_VALUES),
    "22003": Case("bad-value", "a number is too large for its type", _CORRECT_VALUES),
    "25001": Case(
        "needs-no-transaction",
        "the statement cannot run in a transaction",
        "in {file}, use the verb that leaves it (op.create_index_concurrently, op.drop_index_concurrently),\n"
        "or:  with op.get_context().autocommit_block(): ...",
    ),
    "55006": Case(
        "pending-events",
        "a table is changed and altered in the same transaction",
        'put what writes rows and what alters the table into two revisions:\nalembic revision -m "..."',
    ),
}
"""By SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html"""

_CONSTRAINT = """
SELECT pg_get_constraintdef(c.oid) FROM pg_constraint c JOIN pg_namespace n ON n.oid = c.connamespace
 WHERE c.conname = %s AND n.nspname = %s AND c.conrelid = to_regclass(%s)
"""
_COLUMNS_OF_TYPE = """
SELECT string_agg(a.attrelid::regclass || '.' || quote_ident(a.attname), ', ' ORDER BY a.attrelid, a.attnum)
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid OR t.typarray = a.atttypid
 WHERE t.typname = %s AND a.attnum > 0 AND NOT a.attisdropped AND a.attrelid <> t.typrelid
"""
_OWNER = """
SELECT rolname FROM pg_roles
 WHERE NOT rolsuper AND oid = coalesce((SELECT relowner FROM pg_class WHERE oid = to_regclass(%s)),
                                       (SELECT typowner FROM pg_type WHERE oid = to_regtype(%s)))
"""
