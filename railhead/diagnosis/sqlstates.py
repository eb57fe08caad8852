"""What does PostgreSQL's error mean for who wrote the migration?

One table, `CASES`, from SQLSTATE to a slug, a headline and advice with the reader's own names. Never connects.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

import psycopg2

from railhead.diagnosis import postgres_error, refusals, still_there, violations
from railhead.diagnosis.postgres_error import NAME, Ask, Failure
from railhead.postgres import failures
from railhead.postgres.quoting import quoted_name, unquoted
from railhead.project import own_tables

_ADD_VALUE = re.compile(rf"ALTER\s+TYPE\s+({NAME})\s+ADD\s+VALUE", re.IGNORECASE)

_LOCKS = "max_locks_per_transaction"
_EVENTS = "pending trigger events"

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
    case = CASES.get(code) or (SERVERS_OWN if failures.is_servers_own(error) else None)
    if case is None:
        return None
    failure = postgres_error.of(error, statement, revision, file, ask)
    return Cause(*(_said(words, failure) for words in case))


def _said(words: Words, failure: Failure) -> str:
    return words(failure) if callable(words) else _Names(failure).fill(words)


class _Names:
    """Fills the braces of a text; asks for a name only when the text has it."""

    def __init__(self, failure: Failure) -> None:
        self._failure = failure

    def fill(self, text: str) -> str:
        return re.sub(r"\{(\w+)\}", lambda match: str(getattr(self._failure, match[1])), text)


def _is_there_slug(failure: Failure) -> str:
    return f"duplicate-{failure.kind.replace(' ', '-')}"


def _is_there_headline(failure: Failure) -> str:
    noun = still_there.what(failure)
    if noun == still_there.NOTHING:
        return f"it makes the {failure.kind} {failure.path} twice"
    return f"the {noun or failure.kind} {failure.path} is there already"


def _is_there_advice(failure: Failure) -> str:
    noun = still_there.what(failure)
    if noun == still_there.NOTHING:
        return _twice_advice(failure)
    if noun == still_there.TEMPORARY:
        return (
            "it lives as long as the session, and this revision, or one before it in the same run, has made it:\n"
            "CREATE TEMPORARY TABLE ... ON COMMIT DROP"
        )
    if noun is not None and noun != failure.kind:
        return (
            f"{failure.file} makes something else of this name: give that another one, or, where the {noun} is nobody else's:\n"
            f"ALTER {noun.upper()} {failure.name} RENAME TO {_renamed(failure)};"
        )
    if still_there.was_kept(failure, noun or failure.kind):
        return (
            f"a run before this one has left {failure.path} there: the history makes it already, and {failure.file} is wrong.\n"
            f"Take out of {failure.file} what makes it, and out of its downgrade() what drops it; what is in it stays,"
        )
    if failure.kind == "type":
        return _type_advice(failure)
    if failure.kind == "enum value":
        match = _ADD_VALUE.search(failure.statement)
        type_ = match[1] if match else "..."
        quoted = "'" + (failure.names[0].replace("'", "''") if failure.names else "...") + "'"
        return (
            f"if it is the same value, let {failure.file} say:\n"
            f"op.execute({violations.python(f'ALTER TYPE {type_} ADD VALUE IF NOT EXISTS {quoted}')})"
        )
    aside = {
        "index": f"DROP INDEX CONCURRENTLY {failure.name};",
        "column": f"ALTER TABLE {failure.relation} RENAME COLUMN {failure.name} TO {_renamed(failure)};",
        "constraint": f"ALTER TABLE {failure.relation} RENAME CONSTRAINT {failure.name} TO {_renamed(failure)};",
        "schema": f"ALTER SCHEMA {failure.name} RENAME TO {_renamed(failure)};",
        "table": f"ALTER TABLE {failure.name} RENAME TO {_renamed(failure)};",
    }
    return (
        f"look who made {failure.path}:\npython utils/migrate.py drift\n"
        f"if all that {failure.revision} does is there (done by hand, or by create_all):\nalembic stamp {failure.revision}\n"
        "else put it out of the way:\n" + aside.get(failure.kind, f"rename the {failure.kind} {failure.name}")
    )


def _twice_advice(failure: Failure) -> str:
    """Return what to do about something that the revision itself had made before, and that is gone with it."""
    if failure.kind == "type":
        return (
            f"nothing of that name is left: {failure.file} had made it itself. A table makes the enum of its column, too;\n"
            f"leave that to one of the two:\npostgresql.ENUM(..., {_type(failure)}, create_type=False)"
        )
    of_column = " (a column with index=True or unique=True makes one, too)" if failure.kind == "index" else ""
    return f"nothing of that name is left: {failure.file} had made it itself.\nTake one of the two out{of_column},"


def _renamed(failure: Failure) -> str:
    return quoted_name(f"{failure.names[0][:59] if failure.names else 'it'}_old")


def _type(failure: Failure) -> str:
    """Return the arguments by which SQLAlchemy knows the type that an error is about: its name, and its schema if it has one."""
    schema, _, name = failure.name.rpartition(".")
    place = f", schema={violations.python(unquoted(schema))}" if schema else ""
    return f"name={violations.python(unquoted(name))}{place}"


def _type_advice(failure: Failure) -> str:
    users = failure.ask(_COLUMNS_OF_TYPE, (failure.names[0] if failure.names else "",))
    if users is None:
        return (
            "no column uses it: a dropped table left it behind (PostgreSQL keeps the type). Take it away:\n"
            f"DROP TYPE {failure.name};\n"
            f"and let the downgrade that drops the table say:\nop.execute({violations.python(f'DROP TYPE {failure.name}')})"
        )
    return (
        f"it is in use by {users}. To use it in one more table, let {failure.file} say:\n"
        f"postgresql.ENUM(..., {_type(failure)}, create_type=False)"
    )


def _grant(failure: Failure) -> str:
    role = failure.role
    if failure.in_force and failure.last_word in own_tables():
        return (
            f"{failure.file} works as {role} and leaves that in force, and the engine's own tables are not that role's;\n"
            'let upgrade() end with:\nop.execute("RESET ROLE")'
        )
    as_owner = "let the role that owns the schema migrate (MIGRATE_DATABASE_URL)"
    if failure.sentence.startswith("must be owner of "):
        return _ownership(failure, as_owner)
    if "row-level security" in failure.sentence:  # a right would not help: the table's policies say which rows
        table = failure.denied
        return (
            f"{as_owner}: its policies do not bind the owner;\nor, as the owner, let a policy take these rows:\n"
            f"CREATE POLICY ... ON {table} TO {role} WITH CHECK (...);"
        )
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
        return f"{as_owner}, or as an administrator:\nGRANT {right} ON {noun.get(kind, '')}{failure.denied} TO {role};"
    if "extension" in failure.sentence and "CREATE privilege" in failure.hint:
        database = quoted_name(str(failure.ask("SELECT current_database()", ()) or "the_database"))
        return f"as an administrator:\nGRANT CREATE ON DATABASE {database} TO {role};"
    if "extension" in failure.sentence:
        return f"once, as an administrator of the server:\nCREATE EXTENSION IF NOT EXISTS {failure.name};\nand IF NOT EXISTS in {failure.file} too"
    return f"{as_owner},\nor let an administrator do what {failure.file} asks for"


def _ownership(failure: Failure, as_owner: str) -> str:
    """Return how to become the owner; a superuser's own role is nothing to grant."""
    owner = failure.ask(_OWNER, (failure.denied, failure.denied))
    if owner:
        return f"{as_owner}, or as {owner}:\nGRANT {quoted_name(str(owner))} TO {failure.role};"
    kind = failure.sentence.split(" ")[4].upper()
    if kind == "INDEX":
        return f"{as_owner},\nor give the role the table that {failure.denied} belongs to"
    return f"{as_owner}, or as an administrator:\nALTER {kind} {failure.denied} OWNER TO {failure.role};"


def _right(statement: str) -> str:
    verb = (statement.split() or [""])[0].upper()
    return {
        "": "SELECT",
        "SELECT": "SELECT",
        "INSERT": "INSERT",
        "UPDATE": "SELECT, UPDATE",
        "DELETE": "SELECT, DELETE",
    }.get(verb, "SELECT, REFERENCES")


def _is_missing_headline(failure: Failure) -> str:
    if failure.name in own_tables():
        return f"{failure.name} is not on the search_path any more"
    if failure.sentence.startswith("function "):
        return f"the {failure.sentence}"
    return f"the {failure.kind} {failure.path} does not exist" if failure.names else failure.sentence


def _is_missing_advice(failure: Failure) -> str:
    if failure.name in own_tables():
        return refusals.out_of_reach(failure.file)
    if failure.kind == "type":
        return (
            f"correct the name in {failure.file}, or make the type there first (add_column does not):\n"
            f"postgresql.ENUM(..., {_type(failure)}).create(op.get_bind())"
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
    database = quoted_name(str(failure.ask("SELECT current_database()", ()) or "the_database"))
    return (
        "somebody made the database or the role read-only; as an administrator:\n"
        "SET default_transaction_read_only = off;\n"
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


def _memory_headline(failure: Failure) -> str:
    return f"the server has no {'room for more locks' if _LOCKS in failure.hint else 'memory left'}"


def _memory_advice(failure: Failure) -> str:
    if _LOCKS in failure.hint:
        return (
            f"each table and index that a transaction touches is a lock: put what {failure.file} does into several revisions,\n"
            f"or as an administrator, with a restart of the server:\nALTER SYSTEM SET {_LOCKS} = 256;"
        )
    return "do the work in smaller pieces (op.backfill), or give it more memory"


def _in_use_slug(failure: Failure) -> str:
    return "pending-events" if _EVENTS in failure.sentence else "in-use"


def _in_use_headline(failure: Failure) -> str:
    if _EVENTS in failure.sentence:
        return "a table is changed and altered in the same transaction"
    return "somebody uses what is to be changed"


def _in_use_advice(failure: Failure) -> str:
    if _EVENTS in failure.sentence:
        return 'put what writes rows and what alters the table into two revisions:\nalembic revision -m "..."'
    return (
        f"close the cursors and end the queries that {failure.file} itself has open, or wait for the other session:\n"
        "SELECT * FROM pg_stat_activity WHERE state <> 'idle';"
    )


_IS_THERE = Case(_is_there_slug, _is_there_headline, _is_there_advice)
_IS_MISSING = Case("undefined-object", _is_missing_headline, _is_missing_advice)

_CORRECT_VALUES = (
    "correct the value in {file}; or, if the type of a column changes there, the rows in a revision before it"
)

SERVERS_OWN = Case(
    "server-error",
    "the server itself failed",
    "no file of yours is to blame: see the server's log for what is wrong with its storage, its memory or its configuration,\n"
    "or which library it lacks, and have that mended",
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
    "23505": Case("unique-violation", violations.duplicate_headline, violations.duplicate),
    "23503": Case("foreign-key-violation", violations.reference_headline, violations.reference),
    "23502": Case("not-null-violation", violations.missing_headline, violations.missing_value),
    "23514": Case(violations.rejected_slug, violations.rejected_headline, violations.rejected),
    "23P01": Case(
        "exclusion-violation",
        "{rows} exclude each other",
        violations.excluded,
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
    "53200": Case("out-of-memory", _memory_headline, _memory_advice),
    "25006": Case("read-only", "the server takes no changes", _read_only_advice),
    "2BP01": Case(
        "still-needed",
        "other objects depend on what is dropped",
        "let {file} drop first what the detail above names. CASCADE would drop all of that unseen: views, keys of other tables,\n"
        "and columns with their values",
    ),
    "42804": Case(
        "no-cast",
        "PostgreSQL does not know how to turn the old values into the new type",
        lambda failure: (
            f"say how in {failure.file}, in alter_column:\npostgresql_using={violations.python(f'{failure.name}::...')}"
        ),
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
    "55006": Case(_in_use_slug, _in_use_headline, _in_use_advice),
}
"""By SQLSTATE: https://www.postgresql.org/docs/current/errcodes-appendix.html"""

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
