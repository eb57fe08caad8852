"""Which statements should stand in the place of those that block?"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from railhead.autogenerate import layout
from railhead.hazards import batches, calls
from railhead.hazards.rules import Finding
from railhead.operations.verbs import REPEATABLE

_DESCRIBES = re.compile(r"existing_\w+|schema")
"""Arguments of op.alter_column that ask for no change."""

Key = tuple[str, ...]
"""What a step is about: ("name", "ix_task_title"), ("column", "task", "due_on"), ("null", "task", "title")."""


class RewriteStep(NamedTuple):
    """One statement of a function as it will be."""

    code: str
    outside: bool | None
    """Whether it leaves the transaction; None when it does nothing to the database."""
    key: Key = ()
    back: str = ""
    """The way back that is certain from the step itself."""


class Rewriting:
    """One file, and what was found in it."""

    def __init__(self, source: str, found: Collection[Finding]) -> None:
        self.changed = False
        self.words: list[str] = []
        self._source = source
        self._lines = source.splitlines()
        self._found = found
        self._made: set[Key] = set()
        self._asked: set[tuple[str, str | None]] = set()
        self._mended: set[tuple[str, str | None]] = set()

    @property
    def left(self) -> tuple[Finding, ...]:
        """Return what was found and neither rewritten nor put into words; a split mends what is not repeatable."""
        mended = {*self._mended, ("not-repeatable", None)}
        return tuple(one for one in self._found if not {(one.slug, None), (one.slug, calls.bare(one.table))} & mended)

    def upgrade(self, function: ast.FunctionDef) -> list[RewriteStep]:
        """Return the steps forth."""
        steps = [step for text, node in self._statements(function) for step in self._forth(text, node)]
        self._made = {step.key for step in steps if step.outside and step.key}
        return steps

    def downgrade(self, function: ast.FunctionDef, groups: Sequence[Sequence[RewriteStep]]) -> list[list[RewriteStep]]:
        """Return the steps back for each part: each where its opposite is, and those that were not written."""
        home = {step.key: index for index, group in enumerate(groups) for step in group if step.key}
        plain = next((index for index, group in enumerate(groups) if not _outside(group)), 0)
        backwards: list[list[RewriteStep]] = [[] for _ in groups]
        for text, node in self._statements(function):
            for step in self._back(text, node):
                backwards[home.get(step.key, plain)].append(step)
        for group, back in zip(groups, backwards, strict=True):
            written = {step.key for step in back}
            missing = [step for step in group if step.back and step.key not in written]
            back[:0] = [RewriteStep(step.back, outside=True, key=step.key) for step in reversed(missing)]
        return backwards

    def _statements(self, function: ast.FunctionDef) -> Iterator[tuple[str, ast.stmt]]:
        """Yield each statement with its own text and the comments above it, or what stands in a block that can be unfolded."""
        above = function.body[0].lineno - 1
        while above > function.lineno and self._lines[above - 1].lstrip().startswith("#"):
            above -= 1
        for node in function.body:
            end = node.end_lineno or node.lineno
            text = textwrap.dedent("\n".join(self._lines[above:end])).strip("\n")
            above = end
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            inner = calls.unfolded(node) if isinstance(node, ast.With) else None
            if inner is not None:
                yield from ((calls.code(call), ast.Expr(call)) for call in inner)
            elif not is_docstring and not isinstance(node, ast.Pass):
                yield text, node

    def _forth(self, text: str, node: ast.stmt) -> list[RewriteStep]:
        call = calls.operation(node)
        self._asked = set()
        rewritten = self._rewritten(call) if call is not None else []
        if rewritten:
            self.changed = True
            self._mended |= self._asked
            return [rewritten[0]._replace(code=_remarks(text) + rewritten[0].code), *rewritten[1:]]
        return [RewriteStep(text, calls.leaves(node), _key(call) if call else (), _way_back(call) if call else "")]

    def _rewritten(self, call: ast.Call) -> list[RewriteStep]:
        name = calls.name(call)
        table = calls.argument(call, 1 if name.startswith("create_") else 0, "table_name", "source_table")
        if name == "execute":
            return self._executed(call)
        if name == "create_index" and (self._has("index-blocks-writes", table) or _is_concurrent(call)):
            return [_index(call)]
        if name == "create_unique_constraint" and self._has("index-blocks-writes", table):
            return [_constraint(call, "create_unique_constraint_concurrently", "uq", validate=False)]
        if name == "create_foreign_key" and self._has("foreign-key-blocks-writes", table):
            return _validated(call, "create_foreign_key_not_valid", "fk")
        if name == "create_check_constraint" and self._has("scans-under-lock", table):
            return _validated(call, "create_check_constraint_not_valid", "ck")
        if name == "alter_column":
            return self._altered(call, table)
        if name == "add_column":
            return self._added(call, table)
        return []

    def _executed(self, call: ast.Call) -> list[RewriteStep]:
        sql = calls.sql(call)
        if sql is None:
            return []
        index = _CREATE_INDEX.fullmatch(sql)
        if index and self._has("index-blocks-writes", _Text(index["table"])):
            return [_raw_index(index)]
        found = batches.of(sql)
        if found and self._has("writes-rows", _Text(found.table)):
            return [RewriteStep(calls.written("backfill", *map(calls.constant, found)), outside=True)]
        return []

    def _altered(self, call: ast.Call, table: ast.expr | None) -> list[RewriteStep]:
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        if "type_" in given and self._has("rewrites-table", table):
            self.words.append(_retyped(call, given["type_"]))
            self._mended |= self._asked
            return []
        nullable = given.get("nullable")
        if not (
            isinstance(nullable, ast.Constant) and nullable.value is False and self._has("scans-under-lock", table)
        ):
            return []
        rest = [keyword for keyword in call.keywords if keyword.arg != "nullable"]
        verb = ast.Call(calls.op("set_not_null"), call.args, [keyword for keyword in rest if keyword.arg == "schema"])
        back = ast.Call(calls.op("drop_not_null"), verb.args, verb.keywords)
        steps = [
            RewriteStep(calls.code(verb), outside=True, key=("null", *calls.texts(call.args)), back=calls.code(back))
        ]
        if any(keyword.arg and not _DESCRIBES.fullmatch(keyword.arg) for keyword in rest):
            steps.insert(0, RewriteStep(calls.code(ast.Call(call.func, call.args, rest)), outside=False))
        return steps

    def _added(self, call: ast.Call, table: ast.expr | None) -> list[RewriteStep]:
        column = calls.argument(call, 1, "column")
        if not isinstance(column, ast.Call) or table is None:
            return []
        schema = [keyword for keyword in call.keywords if keyword.arg == "schema"]
        kept, later = self._taken_apart(column, table, schema)
        if not later:
            return []
        added = ast.Call(call.func, [call.args[0], kept], call.keywords)
        return [
            RewriteStep(calls.code(added), outside=False, key=("column", *calls.texts([call.args[0], column.args[0]]))),
            *later,
        ]

    def _taken_apart(
        self, column: ast.Call, table: ast.expr, schema: list[ast.keyword]
    ) -> tuple[ast.Call, list[RewriteStep]]:
        """Return a new column without what looks at every row, and that as steps of its own."""
        name, given = column.args[0], {keyword.arg: keyword for keyword in column.keywords}
        gone: set[str | None] = set()
        arguments, later = list(column.args), []
        key = [one for one in arguments if isinstance(one, ast.Call) and calls.name(one) == "ForeignKey"]
        if key and self._has("foreign-key-blocks-writes", table):
            arguments.remove(key[0])
            later += _split_key(key[0], table, name, schema)
        if ("unique" in given or "index" in given) and self._has("index-blocks-writes", table):
            columns = ast.List([name], ast.Load())
            if "unique" in given:
                gone.add("unique")
                title = calls.constant(f"uq_{calls.plain(table)}_{calls.plain(name)}")
                made = ast.Call(calls.op("create_unique_constraint"), [title, table, columns], schema)
                later.append(_constraint(made, "create_unique_constraint_concurrently", "uq", validate=False))
            elif "index" in given:
                gone.add("index")
                title = calls.constant(f"ix_{calls.plain(table)}_{calls.plain(name)}")
                later.append(_index(ast.Call(calls.op("create_index"), [title, table, columns], schema)))
        default = given.get("server_default")
        value = calls.value(default.value) if default else None
        if default and value and self._has("rewrites-table", table):
            gone |= {"server_default", "nullable"}
            alter = ast.Call(calls.op("alter_column"), [table, name], [default, *schema])
            fill = (calls.plain(table), f"{calls.plain(name)} = {value}", f"{calls.plain(name)} IS NULL")
            later.insert(0, RewriteStep(calls.code(alter), outside=False))
            later.append(
                RewriteStep(
                    calls.code(ast.Call(calls.op("backfill"), [*map(calls.constant, fill)], schema)), outside=True
                )
            )
            nullable = given.get("nullable")
            if nullable and isinstance(nullable.value, ast.Constant) and nullable.value.value is False:
                verb = ast.Call(calls.op("set_not_null"), [table, name], schema)
                back = ast.Call(calls.op("drop_not_null"), [table, name], schema)
                later.append(RewriteStep(calls.code(verb), outside=True, back=calls.code(back)))
        keywords = [keyword for keyword in column.keywords if keyword.arg not in gone]
        return ast.Call(column.func, arguments, keywords), later

    def _back(self, text: str, node: ast.stmt) -> list[RewriteStep]:
        call = calls.operation(node)
        if call is None:
            return [RewriteStep(text, calls.leaves(node))]
        key = _key(call)
        verb = {"drop_index": "drop_index_concurrently", "drop_constraint": "drop_constraint_if_exists"}.get(
            calls.name(call)
        )
        if verb and key in self._made:
            return [RewriteStep(calls.code(ast.Call(calls.op(verb), call.args, call.keywords)), outside=True, key=key)]
        if key[:1] == ("null",) and key in self._made:
            schema = [keyword for keyword in call.keywords if keyword.arg == "schema"]
            return [
                RewriteStep(calls.code(ast.Call(calls.op("drop_not_null"), call.args, schema)), outside=True, key=key)
            ]
        found = batches.of(calls.sql(call) or "") if self._made or self.changed else None
        if found:
            return [RewriteStep(calls.written("backfill", *map(calls.constant, found)), outside=True)]
        return [RewriteStep(text, calls.leaves(node), key)]

    def _has(self, slug: str, table: ast.expr | _Text | None) -> bool:
        """Tell whether this was found in that table; a table whose name is not written out may be any."""
        name = table.text if isinstance(table, _Text) else table.value if isinstance(table, ast.Constant) else None
        found = [finding.table for finding in self._found if finding.slug == slug]
        has = bool(found) and (name is None or any(calls.bare(one) == calls.bare(str(name)) for one in found))
        if has:
            self._asked.add((slug, None if name is None else calls.bare(str(name))))
        return has


class _Text(NamedTuple):
    text: str


def groups_of(steps: Sequence[RewriteStep]) -> list[list[RewriteStep]]:
    """Return the steps in runs that may share a revision; what does nothing to the database goes where it is used."""
    working = [step for step in steps if step.outside is not None]
    groups = _fewer([list(group) for _, group in groupby(working, key=lambda step: bool(step.outside))])
    for step in reversed([step for step in steps if step.outside is None]):
        names = set(re.findall(r"^(\w+)\s*(?::.*)?=", step.code, re.MULTILINE))
        users = [group for group in groups if any(_mentions(one.code, names) for one in group)]
        for group in users or groups[:1]:
            group.insert(0, step)
    return groups or [list(steps)]


def _fewer(groups: list[list[RewriteStep]]) -> list[list[RewriteStep]]:
    """Return the groups with what is only built first put behind the plain steps that nothing is taken away by."""
    if len(groups) < 3 or not _outside(groups[0]):
        return groups
    first, plain, later, *rest = groups
    builds = all("op.create_" in step.code for step in first)
    if builds and not any("drop" in step.code.lower() for step in plain):
        return [plain, [*first, *later], *rest]
    return groups


def _mentions(code: str, names: set[str]) -> bool:
    return any(re.search(rf"\b{re.escape(name)}\b", code) for name in names)


def _outside(group: Sequence[RewriteStep]) -> bool:
    return any(step.outside for step in group)


def is_mixed(steps: Sequence[RewriteStep]) -> bool:
    """Tell whether some of these leave the transaction and some do not."""
    return len({step.outside for step in steps if step.outside is not None}) > 1


def _is_concurrent(call: ast.Call) -> bool:
    return any(keyword.arg == "postgresql_concurrently" for keyword in call.keywords)


def _index(call: ast.Call) -> RewriteStep:
    keywords = [one for one in call.keywords if one.arg not in {"postgresql_concurrently", "if_not_exists"}]
    verb = ast.Call(calls.op("create_index_concurrently"), call.args, keywords)
    table = [ast.keyword("table_name", call.args[1])] if len(call.args) > 1 else []
    schema = [keyword for keyword in keywords if keyword.arg == "schema"]
    back = ast.Call(calls.op("drop_index_concurrently"), call.args[:1], [*table, *schema])
    return RewriteStep(calls.code(verb), outside=True, key=("name", calls.plain(call.args[0])), back=calls.code(back))


def _raw_index(match: re.Match[str]) -> RewriteStep:
    columns = [column.strip().strip('"') for column in match["columns"].split(",")]
    name, table = match["name"].strip('"'), match["table"].strip('"')
    more = [ast.keyword("unique", ast.Constant(True))] if match["unique"] else []
    listed = ast.List([*map(calls.constant, columns)], ast.Load())
    return _index(ast.Call(calls.op("create_index"), [calls.constant(name), calls.constant(table), listed], more))


def _constraint(call: ast.Call, verb: str, prefix: str, *, validate: bool) -> RewriteStep:
    """Return a constraint made by a verb, with a name if it had none: what has no name cannot be validated or dropped."""
    title = call.args[0]
    if isinstance(title, ast.Constant) and title.value is None:
        parts = [calls.plain(one) for one in call.args[1:] if isinstance(one, ast.Constant)][
            : 1 if prefix != "fk" else 2
        ]
        columns = [
            calls.plain(one) for one in calls.elements(call.args[-1 if prefix == "uq" else min(3, len(call.args) - 1)])
        ]
        middle = [parts[0], *(columns if prefix != "ck" else ["check"]), *parts[1:]] if parts else columns
        title = calls.constant("_".join([prefix, *middle]))
    schema = [ast.keyword("schema", one.value) for one in call.keywords if one.arg in {"schema", "source_schema"}]
    made = ast.Call(calls.op(verb), [title, *call.args[1:]], call.keywords)
    about = ast.Call(calls.op("validate_constraint"), [title, call.args[1]], schema)
    back = ast.Call(calls.op("drop_constraint_if_exists"), about.args, schema)
    code = f"{calls.code(made)}\n{calls.code(about)}" if validate else calls.code(made)
    return RewriteStep(code, outside=True, key=("name", calls.plain(title)), back=calls.code(back))


def _validated(call: ast.Call, verb: str, prefix: str) -> list[RewriteStep]:
    return [_constraint(call, verb, prefix, validate=True)] if len(call.args) > 1 else []


def _split_key(key: ast.Call, table: ast.expr, column: ast.expr, schema: list[ast.keyword]) -> list[RewriteStep]:
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
    return _validated(made, "create_foreign_key_not_valid", "fk")


def _retyped(call: ast.Call, type_: ast.expr) -> str:
    """Return the three steps to another type, in words and with the reader's names."""
    table, column = calls.plain(call.args[0]), calls.plain(call.args[1])
    new = f"{column}_new"
    added = f"op.add_column({table!r}, sa.Column({new!r}, {ast.unparse(type_)}, nullable=True))"
    using = next((one.value for one in call.keywords if one.arg == "postgresql_using"), None)
    value = str(using.value) if isinstance(using, ast.Constant) else column
    fill = f"op.backfill({table!r}, {f'{new} = {value}'!r}, '{new} IS NULL AND {column} IS NOT NULL')"
    drop = f"op.drop_column({table!r}, {column!r})"
    return (
        f"another type for {table}.{column} takes three steps, each in a release that works with the one before:\n"
        f"1. a column beside it, which the application writes together with {column}:\n{layout.tidy(added)}\n"
        f"2. the rows that are there, in a revision of its own:\n{layout.tidy(fill)}\n"
        f"3. the application reads and writes {new} only; a release later:\n{layout.tidy(drop)}"
    )


_CREATE_INDEX = re.compile(
    r'\s*CREATE (?P<unique>UNIQUE )?INDEX (?:IF NOT EXISTS )?(?P<name>"[^"]+"|\w+) ON (?P<table>"[^"]+"|\w+) '
    r'?\((?P<columns>\s*(?:"[^"]+"|\w+)(?:\s*,\s*(?:"[^"]+"|\w+))*\s*)\)\s*;?\s*',
    re.IGNORECASE,
)


def _key(call: ast.Call) -> Key:
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


def _way_back(call: ast.Call) -> str:
    """Return the way back of a verb that was there already."""
    name = calls.name(call)
    if name == "create_index_concurrently":
        return _index(call).back
    if name in REPEATABLE and name.startswith("create_") and len(call.args) > 1:
        return _constraint(call, name, "", validate=False).back
    if name == "set_not_null":
        return calls.code(ast.Call(calls.op("drop_not_null"), call.args, call.keywords))
    return ""


def _remarks(text: str) -> str:
    lines = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    return "".join(f"{line}\n" for line in lines)
