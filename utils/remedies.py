"""How does the same revision read without what blocks? Rewrites the reader's own file, in the reader's own names.

What stays in its transaction and what has to leave it must not share a revision, so one file may become two or three. Knows
no database; what it cannot rewrite it leaves to words.
"""

from __future__ import annotations

import ast
import re
import textwrap
from collections.abc import Collection, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from utils import batches, layout
from utils.hazards import Finding
from utils.history import LONGEST_ID
from utils.operations import REPEATABLE

_HARMLESS = frozenset({"get_context", "get_bind", "f", "inline_literal"})
_DESCRIBES = re.compile(r"existing_\w+|schema")
"""Arguments of op.alter_column that ask for no change."""

Key = tuple[str, ...]
"""What a step is about: ("name", "ix_task_title"), ("column", "task", "due_on"), ("null", "task", "title")."""


class Part(NamedTuple):
    """One file as it should be."""

    file: str
    is_new: bool
    source: str
    functions: str
    """`upgrade` and `downgrade` of it."""


class Remedy(NamedTuple):
    """What a revision becomes."""

    parts: tuple[Part, ...]
    words: tuple[str, ...]
    """What is to be done by hand, and how."""
    successor: tuple[str, str] | None
    """The file that builds on this revision, and its new parent, when parts were added."""
    left: tuple[Finding, ...] = ()
    """What was found and is not mended by all that."""

    @property
    def text(self) -> str:
        """Return it as the answer to `what now?`, ready to paste."""
        told = list(self.words)
        for part in self.parts:
            place = f"migrations/versions/{part.file}"
            told.append(f"new, {place}:\n{part.source}" if part.is_new else f"in {place}:\n{part.functions}")
        if self.successor:
            told.append(f'in migrations/versions/{self.successor[0]}:\ndown_revision = "{self.successor[1]}"')
        told += dict.fromkeys(f"and by hand, for {one}:\n{one.instead}" for one in self.left)
        return "\n\n".join(one.rstrip() for one in told)


def remedy(
    source: str, file: str, found: Collection[Finding], number: int, successor: str | None = None
) -> Remedy | None:
    """Return what a revision file becomes, None when there is nothing to rewrite and nothing to say.

    `number` is the first that no revision has, `successor` the file that builds on this revision.
    """
    tree = ast.parse(source)
    rewriting = _Rewriting(source, found)
    upgrade, downgrade = (_function(tree, name) for name in ("upgrade", "downgrade"))
    if upgrade is None:
        return None
    steps = rewriting.upgrade(upgrade)
    if not rewriting.changed and not _is_mixed(steps):
        return Remedy((), tuple(rewriting.words), None, rewriting.left) if rewriting.words else None
    groups = _groups(steps)
    backwards = rewriting.downgrade(downgrade, groups) if downgrade else [[] for _ in groups]
    names = _names(source, file, number, len(groups))
    parts = []
    for index, (group, back) in enumerate(zip(groups, backwards, strict=True)):
        functions = f"{_defined('upgrade', group)}\n\n\n{_defined('downgrade', back)}\n"
        whole = _replaced(source, upgrade, downgrade, functions)
        parts.append(Part(names[index] + ".py" if index else file, bool(index), whole, functions))
    parents = [names[index] for index in range(len(groups) - 1)]
    parts[1:] = [
        part._replace(source=_as_new(part.source, name, parent))
        for part, name, parent in zip(parts[1:], names[1:], parents, strict=True)
    ]
    follows = (successor, names[-1]) if successor and len(parts) > 1 else None
    return Remedy(tuple(parts), tuple(rewriting.words), follows, rewriting.left)


class _Step(NamedTuple):
    """One statement of a function as it will be."""

    code: str
    outside: bool | None
    """Whether it leaves the transaction; None when it does nothing to the database."""
    key: Key = ()
    back: str = ""
    """The way back that is certain from the step itself."""


class _Rewriting:
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
        return tuple(one for one in self._found if not {(one.slug, None), (one.slug, _bare(one.table))} & mended)

    def upgrade(self, function: ast.FunctionDef) -> list[_Step]:
        """Return the steps forth."""
        steps = [step for text, node in self._statements(function) for step in self._forth(text, node)]
        self._made = {step.key for step in steps if step.outside and step.key}
        return steps

    def downgrade(self, function: ast.FunctionDef, groups: Sequence[Sequence[_Step]]) -> list[list[_Step]]:
        """Return the steps back for each part: each where its opposite is, and those that were not written."""
        home = {step.key: index for index, group in enumerate(groups) for step in group if step.key}
        plain = next((index for index, group in enumerate(groups) if not _outside(group)), 0)
        backwards: list[list[_Step]] = [[] for _ in groups]
        for text, node in self._statements(function):
            for step in self._back(text, node):
                backwards[home.get(step.key, plain)].append(step)
        for group, back in zip(groups, backwards, strict=True):
            written = {step.key for step in back}
            missing = [step for step in group if step.back and step.key not in written]
            back[:0] = [_Step(step.back, outside=True, key=step.key) for step in reversed(missing)]
        return backwards

    def _statements(self, function: ast.FunctionDef) -> Iterator[tuple[str, ast.stmt]]:
        """Yield each statement with its own text and the comments above it."""
        above = function.body[0].lineno - 1
        while above > function.lineno and self._lines[above - 1].lstrip().startswith("#"):
            above -= 1
        for node in function.body:
            end = node.end_lineno or node.lineno
            text = textwrap.dedent("\n".join(self._lines[above:end])).strip("\n")
            above = end
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            if not is_docstring and not isinstance(node, ast.Pass):
                yield text, node

    def _forth(self, text: str, node: ast.stmt) -> list[_Step]:
        if isinstance(node, ast.With):
            inner = _unfolded(node)
            if inner is not None:
                return [step for call in inner for step in self._forth(_code(call), ast.Expr(call))]
        call = _operation(node)
        self._asked = set()
        rewritten = self._rewritten(call) if call is not None else []
        if rewritten:
            self.changed = True
            self._mended |= self._asked
            return [rewritten[0]._replace(code=_remarks(text) + rewritten[0].code), *rewritten[1:]]
        return [_Step(text, _leaves(node), _key(call) if call else (), _way_back(call) if call else "")]

    def _rewritten(self, call: ast.Call) -> list[_Step]:
        name = _name(call)
        table = _argument(call, 1 if name.startswith("create_") else 0, "table_name", "source_table")
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

    def _executed(self, call: ast.Call) -> list[_Step]:
        sql = _sql(call)
        if sql is None:
            return []
        index = _CREATE_INDEX.fullmatch(sql)
        if index and self._has("index-blocks-writes", _Text(index["table"])):
            return [_raw_index(index)]
        found = batches.of(sql)
        if found and self._has("writes-rows", _Text(found.table)):
            return [_Step(_call("backfill", *map(_constant, found)), outside=True)]
        return []

    def _altered(self, call: ast.Call, table: ast.expr | None) -> list[_Step]:
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
        verb = ast.Call(_op("set_not_null"), call.args, [keyword for keyword in rest if keyword.arg == "schema"])
        back = ast.Call(_op("drop_not_null"), verb.args, verb.keywords)
        steps = [_Step(_code(verb), outside=True, key=("null", *_texts(call.args)), back=_code(back))]
        if any(keyword.arg and not _DESCRIBES.fullmatch(keyword.arg) for keyword in rest):
            steps.insert(0, _Step(_code(ast.Call(call.func, call.args, rest)), outside=False))
        return steps

    def _added(self, call: ast.Call, table: ast.expr | None) -> list[_Step]:
        column = _argument(call, 1, "column")
        if not isinstance(column, ast.Call) or table is None:
            return []
        schema = [keyword for keyword in call.keywords if keyword.arg == "schema"]
        kept, later = self._taken_apart(column, table, schema)
        if not later:
            return []
        added = ast.Call(call.func, [call.args[0], kept], call.keywords)
        return [_Step(_code(added), outside=False, key=("column", *_texts([call.args[0], column.args[0]]))), *later]

    def _taken_apart(
        self, column: ast.Call, table: ast.expr, schema: list[ast.keyword]
    ) -> tuple[ast.Call, list[_Step]]:
        """Return a new column without what looks at every row, and that as steps of its own."""
        name, given = column.args[0], {keyword.arg: keyword for keyword in column.keywords}
        gone: set[str | None] = set()
        arguments, later = list(column.args), []
        key = [one for one in arguments if isinstance(one, ast.Call) and _name(one) == "ForeignKey"]
        if key and self._has("foreign-key-blocks-writes", table):
            arguments.remove(key[0])
            later += _split_key(key[0], table, name, schema)
        if ("unique" in given or "index" in given) and self._has("index-blocks-writes", table):
            columns = ast.List([name], ast.Load())
            if "unique" in given:
                gone.add("unique")
                title = _constant(f"uq_{_plain(table)}_{_plain(name)}")
                made = ast.Call(_op("create_unique_constraint"), [title, table, columns], schema)
                later.append(_constraint(made, "create_unique_constraint_concurrently", "uq", validate=False))
            elif "index" in given:
                gone.add("index")
                title = _constant(f"ix_{_plain(table)}_{_plain(name)}")
                later.append(_index(ast.Call(_op("create_index"), [title, table, columns], schema)))
        default = given.get("server_default")
        value = _value(default.value) if default else None
        if default and value and self._has("rewrites-table", table):
            gone |= {"server_default", "nullable"}
            alter = ast.Call(_op("alter_column"), [table, name], [default, *schema])
            fill = (_plain(table), f"{_plain(name)} = {value}", f"{_plain(name)} IS NULL")
            later.insert(0, _Step(_code(alter), outside=False))
            later.append(_Step(_code(ast.Call(_op("backfill"), [*map(_constant, fill)], schema)), outside=True))
            nullable = given.get("nullable")
            if nullable and isinstance(nullable.value, ast.Constant) and nullable.value.value is False:
                verb = ast.Call(_op("set_not_null"), [table, name], schema)
                back = ast.Call(_op("drop_not_null"), [table, name], schema)
                later.append(_Step(_code(verb), outside=True, back=_code(back)))
        keywords = [keyword for keyword in column.keywords if keyword.arg not in gone]
        return ast.Call(column.func, arguments, keywords), later

    def _back(self, text: str, node: ast.stmt) -> list[_Step]:
        if isinstance(node, ast.With):
            inner = _unfolded(node)
            if inner is not None:
                return [step for call in inner for step in self._back(_code(call), ast.Expr(call))]
        call = _operation(node)
        if call is None:
            return [_Step(text, _leaves(node))]
        key = _key(call)
        verb = {"drop_index": "drop_index_concurrently", "drop_constraint": "drop_constraint_if_exists"}.get(
            _name(call)
        )
        if verb and key in self._made:
            return [_Step(_code(ast.Call(_op(verb), call.args, call.keywords)), outside=True, key=key)]
        if key[:1] == ("null",) and key in self._made:
            schema = [keyword for keyword in call.keywords if keyword.arg == "schema"]
            return [_Step(_code(ast.Call(_op("drop_not_null"), call.args, schema)), outside=True, key=key)]
        found = batches.of(_sql(call) or "") if self._made or self.changed else None
        if found:
            return [_Step(_call("backfill", *map(_constant, found)), outside=True)]
        return [_Step(text, _leaves(node), key)]

    def _has(self, slug: str, table: ast.expr | _Text | None) -> bool:
        """Tell whether this was found in that table; a table whose name is not written out may be any."""
        name = table.text if isinstance(table, _Text) else table.value if isinstance(table, ast.Constant) else None
        found = [finding.table for finding in self._found if finding.slug == slug]
        has = bool(found) and (name is None or any(_bare(one) == _bare(str(name)) for one in found))
        if has:
            self._asked.add((slug, None if name is None else _bare(str(name))))
        return has


class _Text(NamedTuple):
    text: str


def _groups(steps: Sequence[_Step]) -> list[list[_Step]]:
    """Return the steps in runs that may share a revision; what does nothing to the database goes where it is used."""
    working = [step for step in steps if step.outside is not None]
    groups = _fewer([list(group) for _, group in groupby(working, key=lambda step: bool(step.outside))])
    for step in reversed([step for step in steps if step.outside is None]):
        names = set(re.findall(r"^(\w+)\s*(?::.*)?=", step.code, re.MULTILINE))
        users = [group for group in groups if any(_mentions(one.code, names) for one in group)]
        for group in users or groups[:1]:
            group.insert(0, step)
    return groups or [list(steps)]


def _fewer(groups: list[list[_Step]]) -> list[list[_Step]]:
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


def _outside(group: Sequence[_Step]) -> bool:
    return any(step.outside for step in group)


def _is_mixed(steps: Sequence[_Step]) -> bool:
    return len({step.outside for step in steps if step.outside is not None}) > 1


def _function(tree: ast.Module, name: str) -> ast.FunctionDef | None:
    return next((node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == name), None)


def _operation(node: ast.stmt) -> ast.Call | None:
    """Return the call when the statement is `op.something(...)`."""
    call = node.value if isinstance(node, ast.Expr) else None
    return call if isinstance(call, ast.Call) and _receiver(call) == "op" else None


def _receiver(call: ast.Call) -> str:
    function = call.func
    return function.value.id if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) else ""


def _name(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _leaves(node: ast.stmt) -> bool | None:
    """Tell whether a statement leaves the transaction; None when it calls no operation at all."""
    calls = [one for one in ast.walk(node) if isinstance(one, ast.Call)]
    verbs = {_name(call) for call in calls if _receiver(call) == "op"} - _HARMLESS
    if any(_name(call) == "autocommit_block" for call in calls):
        return True
    works = any(_name(call) in {"execute", "scalar", "exec_driver_sql"} for call in calls)
    return verbs <= REPEATABLE if verbs else False if works else None


def _unfolded(node: ast.With) -> list[ast.Call] | None:
    """Return the operations in `op.batch_alter_table("task") as batch_op` or in an autocommit block, as plain ones."""
    context = node.items[0].context_expr
    calls = [one.value for one in node.body if isinstance(one, ast.Expr) and isinstance(one.value, ast.Call)]
    if len(node.items) > 1 or len(calls) != len(node.body) or not isinstance(context, ast.Call):
        return None
    if _name(context) == "autocommit_block":
        known = all(_name(call) in {"create_index", "drop_index"} for call in calls)
        return [_concurrently(call) for call in calls] if known else None
    if _name(context) != "batch_alter_table" or not context.args:
        return None
    table = context.args[0]
    schema = [one for one in context.keywords if one.arg == "schema" and getattr(one.value, "value", "") is not None]
    name = node.items[0].optional_vars
    batch = name.id if isinstance(name, ast.Name) else ""
    return [_unbatched(_WithoutBatch(batch).visit(call), table, schema) for call in calls]


class _WithoutBatch(ast.NodeTransformer):
    """Puts `op` where a batch was spoken of, as in `batch_op.f("name")`."""

    def __init__(self, batch: str) -> None:
        self._batch = batch

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """Return `op` for the batch."""
        return ast.Name("op", node.ctx) if node.id == self._batch else node


def _unbatched(call: ast.Call, table: ast.expr, schema: list[ast.keyword]) -> ast.Call:
    behind_name = _name(call).startswith("create_") or _name(call) == "drop_constraint"
    arguments = [*call.args]
    place = "source_schema" if _name(call) == "create_foreign_key" else "schema"
    keywords = [*call.keywords, *(ast.keyword(place, one.value) for one in schema)]
    if _name(call) == "drop_index":
        keywords.insert(0, ast.keyword("table_name", table))
    else:
        arguments.insert(1 if behind_name else 0, table)
    return ast.Call(_op(_name(call)), arguments, keywords)


def _concurrently(call: ast.Call) -> ast.Call:
    if _name(call) == "create_index":
        return ast.Call(
            call.func, call.args, [*call.keywords, ast.keyword("postgresql_concurrently", ast.Constant(True))]
        )
    return ast.Call(_op("drop_index_concurrently"), call.args, call.keywords)


def _is_concurrent(call: ast.Call) -> bool:
    return any(keyword.arg == "postgresql_concurrently" for keyword in call.keywords)


def _index(call: ast.Call) -> _Step:
    keywords = [one for one in call.keywords if one.arg not in {"postgresql_concurrently", "if_not_exists"}]
    verb = ast.Call(_op("create_index_concurrently"), call.args, keywords)
    table = [ast.keyword("table_name", call.args[1])] if len(call.args) > 1 else []
    schema = [keyword for keyword in keywords if keyword.arg == "schema"]
    back = ast.Call(_op("drop_index_concurrently"), call.args[:1], [*table, *schema])
    return _Step(_code(verb), outside=True, key=("name", _plain(call.args[0])), back=_code(back))


def _raw_index(match: re.Match[str]) -> _Step:
    columns = [column.strip().strip('"') for column in match["columns"].split(",")]
    name, table = match["name"].strip('"'), match["table"].strip('"')
    more = [ast.keyword("unique", ast.Constant(True))] if match["unique"] else []
    listed = ast.List([*map(_constant, columns)], ast.Load())
    return _index(ast.Call(_op("create_index"), [_constant(name), _constant(table), listed], more))


def _constraint(call: ast.Call, verb: str, prefix: str, *, validate: bool) -> _Step:
    """Return a constraint made by a verb, with a name if it had none: what has no name cannot be validated or dropped."""
    title = call.args[0]
    if isinstance(title, ast.Constant) and title.value is None:
        parts = [_plain(one) for one in call.args[1:] if isinstance(one, ast.Constant)][: 1 if prefix != "fk" else 2]
        columns = [_plain(one) for one in _elements(call.args[-1 if prefix == "uq" else min(3, len(call.args) - 1)])]
        middle = [parts[0], *(columns if prefix != "ck" else ["check"]), *parts[1:]] if parts else columns
        title = _constant("_".join([prefix, *middle]))
    schema = [ast.keyword("schema", one.value) for one in call.keywords if one.arg in {"schema", "source_schema"}]
    made = ast.Call(_op(verb), [title, *call.args[1:]], call.keywords)
    about = ast.Call(_op("validate_constraint"), [title, call.args[1]], schema)
    back = ast.Call(_op("drop_constraint_if_exists"), about.args, schema)
    code = f"{_code(made)}\n{_code(about)}" if validate else _code(made)
    return _Step(code, outside=True, key=("name", _plain(title)), back=_code(back))


def _validated(call: ast.Call, verb: str, prefix: str) -> list[_Step]:
    return [_constraint(call, verb, prefix, validate=True)] if len(call.args) > 1 else []


def _split_key(key: ast.Call, table: ast.expr, column: ast.expr, schema: list[ast.keyword]) -> list[_Step]:
    """Return the foreign key of a new column as a constraint of its own."""
    target = key.args[0]
    if not (isinstance(target, ast.Constant) and isinstance(target.value, str) and "." in target.value):
        return []
    *place, referred = target.value.split(".")
    other = ast.keyword("referent_schema", _constant(".".join(place[:-1]))) if len(place) > 1 else None
    named = next((one.value for one in key.keywords if one.arg == "name"), None)
    keywords = [one for one in key.keywords if one.arg != "name"]
    keywords += [ast.keyword("source_schema", one.value) for one in schema] + ([other] if other else [])
    lists = [ast.List([column], ast.Load()), ast.List([_constant(referred)], ast.Load())]
    made = ast.Call(
        _op("create_foreign_key"), [named or ast.Constant(None), table, _constant(place[-1]), *lists], keywords
    )
    return _validated(made, "create_foreign_key_not_valid", "fk")


def _retyped(call: ast.Call, type_: ast.expr) -> str:
    """Return the three steps to another type, in words and with the reader's names."""
    table, column = _plain(call.args[0]), _plain(call.args[1])
    new = f"{column}_new"
    added = f"op.add_column({table!r}, sa.Column({new!r}, {ast.unparse(type_)}, nullable=True))"
    fill = f"op.backfill({table!r}, '{new} = {column}', '{new} IS NULL AND {column} IS NOT NULL')"
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


def _sql(call: ast.Call) -> str | None:
    """Return the SQL that `op.execute` is given as a text, or as `sa.text("...")`."""
    given = call.args[0] if call.args and _name(call) == "execute" else None
    if isinstance(given, ast.Call) and _name(given) == "text" and given.args:
        given = given.args[0]
    if not (isinstance(given, ast.Constant) and isinstance(given.value, str)):
        return None
    return given.value.replace("\\:", ":")  # a colon that is no parameter is escaped for SQLAlchemy


def _value(default: ast.expr) -> str | None:
    """Return a server default as SQL."""
    if isinstance(default, ast.Constant) and isinstance(default.value, str):
        return "'" + default.value.replace("'", "''") + "'"
    if isinstance(default, ast.Call) and _name(default) == "text" and isinstance(default.args[0], ast.Constant):
        return str(default.args[0].value)
    if isinstance(default, ast.Call) and isinstance(default.func, ast.Attribute) and not default.args:
        return f"{default.func.attr}()"  # sa.func.gen_random_uuid()
    return None


def _key(call: ast.Call) -> Key:
    """Return what an operation makes or takes away."""
    name, texts = _name(call), _texts(call.args)
    if name.endswith(("_index", "_index_concurrently")) or "constraint" in name or "foreign_key" in name:
        return ("name", *texts[:1])
    if name in {"set_not_null", "drop_not_null"}:
        return ("null", *texts[:2])
    if name == "alter_column" and any(keyword.arg == "nullable" for keyword in call.keywords):
        return ("null", *texts[:2])
    if name == "add_column" and len(call.args) > 1 and isinstance(call.args[1], ast.Call):
        return ("column", *texts[:1], *_texts(call.args[1].args[:1]))
    if name == "drop_column":
        return ("column", *texts[:2])
    return ("table", *texts[:1]) if name.endswith("_table") else ()


def _way_back(call: ast.Call) -> str:
    """Return the way back of a verb that was there already."""
    name = _name(call)
    if name == "create_index_concurrently":
        return _index(call).back
    if name in REPEATABLE and name.startswith("create_") and len(call.args) > 1:
        return _constraint(call, name, "", validate=False).back
    if name == "set_not_null":
        return _code(ast.Call(_op("drop_not_null"), call.args, call.keywords))
    return ""


def _names(source: str, file: str, number: int, count: int) -> list[str]:
    """Return the ids of the parts: the first keeps its own."""
    given = re.search(r"^revision\b[^=\n]*=\s*['\"]([^'\"]+)['\"]", source, re.MULTILINE)
    first = given[1] if given else file.removesuffix(".py")
    words = re.sub(r"^\d+_", "", first)
    endings = ["_finish"] if count == 2 else [f"_{index}" for index in range(2, count + 1)]
    prefixes = [f"{number + index:04d}_" for index in range(count - 1)]
    return [
        first,
        *(
            prefix + words[: LONGEST_ID - len(prefix) - len(ending)].rstrip("_") + ending
            for prefix, ending in zip(prefixes, endings, strict=False)
        ),
    ]


def _defined(name: str, steps: Sequence[_Step]) -> str:
    body = "\n".join(step.code for step in steps) or "pass"
    return f"def {name}() -> None:\n{textwrap.indent(body, '    ')}"


def _replaced(source: str, upgrade: ast.FunctionDef, downgrade: ast.FunctionDef | None, functions: str) -> str:
    """Return the whole file with other functions, which come where `upgrade` was."""
    lines = source.splitlines()
    spans = [(node.lineno - 1, node.end_lineno or node.lineno) for node in (upgrade, downgrade) if node]
    kept = [line for index, line in enumerate(lines) if not any(start <= index < end for start, end in spans)]
    before = sum(1 for index in range(spans[0][0]) if not any(start <= index < end for start, end in spans))
    head, tail = "\n".join(kept[:before]).rstrip(), "\n".join(kept[before:]).strip()
    return f"{head}\n\n\n{functions}" + (f"\n\n{tail}\n" if tail else "")


def _as_new(source: str, revision: str, parent: str) -> str:
    """Return a copy of a file as a revision of its own; what it says about itself has to be said anew."""
    doc = ast.get_docstring(ast.parse(source))
    title = (doc or revision).splitlines()[0].rstrip(".")
    source = re.sub(r'\A\s*(?:""".*?"""|\'\'\'.*?\'\'\')', "", source, count=1, flags=re.DOTALL).lstrip()
    source = re.sub(r"^(revision\b[^=\n]*=\s*).*$", rf'\g<1>"{revision}"', source, count=1, flags=re.MULTILINE)
    source = re.sub(r"^(down_revision\b[^=\n]*=\s*).*$", rf'\g<1>"{parent}"', source, count=1, flags=re.MULTILINE)
    if not re.search(r"\bsa\.", re.sub(r"^import .*$", "", source, flags=re.MULTILINE)):
        source = re.sub(r"^import sqlalchemy as sa\n", "", source, flags=re.MULTILINE)
    return f'"""{title} (goes on)."""\n\n{source}'


def _argument(call: ast.Call, position: int, *names: str) -> ast.expr | None:
    given = next((keyword.value for keyword in call.keywords if keyword.arg in names), None)
    return call.args[position] if len(call.args) > position else given


def _elements(node: ast.expr) -> list[ast.expr]:
    return list(node.elts) if isinstance(node, ast.List | ast.Tuple) else []


def _texts(nodes: Sequence[ast.expr]) -> list[str]:
    return [_plain(node) for node in nodes]


def _plain(node: ast.expr) -> str:
    """Return the text of a name, whether it is `"name"` or `op.f("name")`; of anything else its code."""
    if isinstance(node, ast.Call) and _name(node) == "f" and node.args:
        node = node.args[0]
    return str(node.value) if isinstance(node, ast.Constant) else ast.unparse(node)


def _bare(table: str) -> str:
    return table.rpartition(".")[2].strip('"')


def _remarks(text: str) -> str:
    lines = [line for line in text.splitlines() if line.lstrip().startswith("#")]
    return "".join(f"{line}\n" for line in lines)


def _op(name: str) -> ast.Attribute:
    return ast.Attribute(ast.Name("op", ast.Load()), name, ast.Load())


def _constant(value: str) -> ast.expr:
    return ast.Constant(value)


def _call(verb: str, *arguments: ast.expr) -> str:
    return _code(ast.Call(_op(verb), list(arguments), []))


def _code(call: ast.Call) -> str:
    text = layout.tidy(ast.unparse(ast.fix_missing_locations(call)))
    first, *rest = text.splitlines()
    return "\n".join([first, *(line.removeprefix("    ") for line in rest)])
