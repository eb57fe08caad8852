"""What stands in the place of one call that blocks? Steps that do the same, in the reader's own names, and their way back."""

from __future__ import annotations

import ast
import re

from railhead.hazards import calls
from railhead.hazards.steps import Key, RewriteStep
from railhead.hazards.table_names import of_sql
from railhead.operations.verbs import REPEATABLE
from railhead.postgres.quoting import quoted_name

LONGEST_NAME = 63
"""Bytes of a name that PostgreSQL keeps."""

_PART = r'(?:"(?:[^"]|"")+"|\w+)'
CREATE_INDEX = re.compile(
    rf"\s*CREATE\s+(?P<unique>UNIQUE\s+)?INDEX\s+(?:IF\s+NOT\s+EXISTS\s+)?(?P<name>{_PART})\s+ON\s+(?:(?P<schema>{_PART})\.)?(?P<table>{_PART})"
    rf"\s*\((?P<columns>\s*{_PART}(?:\s*,\s*{_PART})*\s*)\)\s*;?\s*",
    re.IGNORECASE,
)


def index(call: ast.Call) -> RewriteStep:
    """Return an index that is built concurrently."""
    keywords = [one for one in call.keywords if one.arg not in {"postgresql_concurrently", "if_not_exists"}]
    verb = ast.Call(calls.op("create_index_concurrently"), call.args, keywords)
    table = [ast.keyword("table_name", call.args[1])] if len(call.args) > 1 else []
    back = ast.Call(calls.op("drop_index_concurrently"), call.args[:1], [*table, *calls.schema_of(call)])
    return RewriteStep(calls.code(verb), outside=True, key=("name", calls.plain(call.args[0])), back=calls.code(back))


def raw_index(match: re.Match[str]) -> RewriteStep:
    """Return the same for an index that is written in SQL."""
    columns = [of_sql(column) for column in re.findall(_PART, match["columns"])]
    name, table = of_sql(match["name"]), of_sql(match["table"])
    more = [ast.keyword("unique", ast.Constant(True))] if match["unique"] else []
    more += [ast.keyword("schema", calls.constant(of_sql(match["schema"])))] if match["schema"] else []
    listed = ast.List([*map(calls.constant, columns)], ast.Load())
    return index(ast.Call(calls.op("create_index"), [calls.constant(name), calls.constant(table), listed], more))


def constraint(call: ast.Call, verb: str, prefix: str, *, validate: bool) -> RewriteStep:
    """Return a constraint made by a verb, with a name if it had none: what has no name cannot be validated or dropped."""
    title = call.args[0]
    if isinstance(title, ast.Constant) and title.value is None:
        title = calls.constant(_name_of(call, prefix))
    schema = calls.schema_of(call, "source_schema")
    made = ast.Call(calls.op(verb), [title, *call.args[1:]], call.keywords)
    about = ast.Call(calls.op("validate_constraint"), [title, call.args[1]], schema)
    back = ast.Call(calls.op("drop_constraint_if_exists"), about.args, schema)
    code = f"{calls.code(made)}\n{calls.code(about)}" if validate else calls.code(made)
    return RewriteStep(code, outside=True, key=("name", calls.plain(title)), back=calls.code(back))


def _name_of(call: ast.Call, prefix: str) -> str:
    parts = [calls.plain(one) for one in call.args[1:] if isinstance(one, ast.Constant)][: 1 if prefix != "fk" else 2]
    columns = [
        calls.plain(one) for one in calls.elements(call.args[-1 if prefix == "uq" else min(3, len(call.args) - 1)])
    ]
    middle = [parts[0], *(columns if prefix != "ck" else ["check"]), *parts[1:]] if parts else columns
    return "_".join([prefix, *middle]).encode()[:LONGEST_NAME].decode(errors="ignore")


def validated(call: ast.Call, verb: str, prefix: str) -> list[RewriteStep]:
    """Return a constraint that is added for new rows and then checked for those that are there."""
    return [constraint(call, verb, prefix, validate=True)] if len(call.args) > 1 else []


def split_key(key: ast.Call, table: ast.expr, column: ast.expr, schema: list[ast.keyword]) -> list[RewriteStep]:
    """Return the foreign key of a new column as a constraint of its own."""
    target = key.args[0]
    if not (isinstance(target, ast.Constant) and isinstance(target.value, str) and "." in target.value):
        return []
    *place, referred = target.value.split(".")
    other = ast.keyword("referent_schema", calls.constant(".".join(place[:-1]))) if len(place) > 1 else None
    named = next((one.value for one in key.keywords if one.arg == "name"), None)
    keywords = [one for one in key.keywords if one.arg != "name"]
    keywords += [ast.keyword("source_schema", one.value) for one in schema] + ([other] if other else [])
    lists = [ast.List([column], ast.Load()), ast.List([calls.constant(referred)], ast.Load())]
    made = ast.Call(
        calls.op("create_foreign_key"),
        [named or ast.Constant(None), table, calls.constant(place[-1]), *lists],
        keywords,
    )
    return validated(made, "create_foreign_key_not_valid", "fk")


def retyped(call: ast.Call, type_: ast.expr) -> str:
    """Return the three steps to another type, in words and with the reader's names."""
    table, column = call.args[:2]
    name, schema = calls.plain(column), calls.schema_of(call)
    new = f"{name}_new"
    kept = ast.Call(
        ast.Attribute(ast.Name("sa", ast.Load()), "Column", ast.Load()),
        [calls.constant(new), type_],
        [ast.keyword("nullable", ast.Constant(True))],
    )
    using = next((one.value for one in call.keywords if one.arg == "postgresql_using"), None)
    old, filled = quoted_name(name), quoted_name(new)
    value = str(using.value) if isinstance(using, ast.Constant) else old
    told = (f"{filled} = {value}", f"{filled} IS NULL AND {old} IS NOT NULL")
    place = ".".join([*(calls.plain(one.value) for one in schema), calls.plain(table), name])
    return (
        f"another type for {place} takes three steps, each in a release that works with the one before:\n"
        f"1. a column beside it, which the application writes together with {name}:\n"
        f"{calls.written('add_column', table, kept, keywords=schema)}\n"
        f"2. the rows that are there, in a revision of its own:\n"
        f"{calls.written('backfill', table, *map(calls.constant, told), keywords=schema)}\n"
        f"3. the application reads and writes {new} only; a release later:\n"
        f"{calls.written('drop_column', table, column, keywords=schema)}"
    )


def key_of(call: ast.Call) -> Key:
    """Return what an operation makes or takes away."""
    name, texts = calls.name(call), calls.texts(call.args)
    if name.endswith(("_index", "_index_concurrently")) or "constraint" in name or "foreign_key" in name:
        return ("name", *texts[:1])
    if name in {"set_not_null", "drop_not_null"}:
        return ("null", *texts[:2])
    if name == "alter_column" and any(keyword.arg == "nullable" for keyword in call.keywords):
        return ("null", *texts[:2])
    if name == "add_column" and len(call.args) > 1 and isinstance(call.args[1], ast.Call):
        return ("column", *texts[:1], *calls.texts(call.args[1].args[:1]))
    if name == "drop_column":
        return ("column", *texts[:2])
    return ("table", *texts[:1]) if name.endswith("_table") else ()


def way_back(call: ast.Call) -> str:
    """Return the way back of a verb that was there already."""
    name = calls.name(call)
    if name == "create_index_concurrently":
        return index(call).back
    if name in REPEATABLE and name.startswith("create_") and len(call.args) > 1:
        return constraint(call, name, "", validate=False).back
    if name == "set_not_null":
        return calls.code(ast.Call(calls.op("drop_not_null"), call.args, call.keywords))
    return ""
