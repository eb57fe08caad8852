"""Which statements should stand in the place of those that block?"""

from __future__ import annotations

import ast
import builtins
import re
from collections.abc import Collection, Iterator, Sequence

from railhead.hazards import alternatives, batches, calls, steps, table_names, transaction_bound
from railhead.hazards.rules import Finding
from railhead.hazards.steps import Groups, Key, Numbered, RewriteStep
from railhead.history.graph import syntax
from railhead.postgres.quoting import quoted_name

_DESCRIBES = re.compile(r"existing_\w+|schema")
"""Arguments of op.alter_column that ask for no change."""


class Rewriting:
    """One file, and what was found in it."""

    def __init__(self, source: str, found: Collection[Finding]) -> None:
        self.changed = False
        self.words: list[str] = []
        self._source = source
        self._lines = source.splitlines()
        tree = syntax(source)
        self._inside = steps.inside_texts(tree)
        self._functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        self._prepared: list[RewriteStep] = []
        self._found = found
        self._made: set[Key] = set()
        self._asked: set[Finding] = set()
        self._mended: set[Finding] = set()

    @property
    def left(self) -> tuple[Finding, ...]:
        """Return what was found and neither rewritten nor put into words; a split mends what is not repeatable."""
        return tuple(one for one in self._found if one not in self._mended and one.slug != "not-repeatable")

    def upgrade(self, function: ast.FunctionDef) -> list[RewriteStep]:
        """Return the steps forth."""
        forth = [step for text, node in self._statements(function) for step in self._forth(text, node)]
        self._made = {step.key for step in forth if step.outside and step.key}
        self._prepared = [step for step in forth if step.outside is None]
        return forth

    def downgrade(self, function: ast.FunctionDef, groups: Groups) -> Groups:
        """Return the steps back for each part: each where its opposite is, and those that were not written."""
        home = {step.key: index for index, group in enumerate(groups) for step in group if step.key}
        plain = next((index for index, group in enumerate(groups) if not steps.is_outside(group)), 0)
        back = [step for text, node in self._statements(function) for step in self._back(text, node)]
        runs: list[list[Numbered]] = [[] for _ in groups]
        for number, step in enumerate(back):
            if step.works:
                runs[home.get(step.key, plain)].append((number, step))
        for group, run in zip(groups, runs, strict=True):
            written = {step.key for _, step in run}
            missing = [step for step in group if step.back and step.key not in written]
            undone = [RewriteStep(step.back, outside=True, key=step.key) for step in reversed(missing)]
            run[:0] = [(-1, step) for step in [*self._preparing(undone), *undone]]
        backwards, idle = steps.placed(runs, [one for one in enumerate(back) if not one[1].works])
        self.leave_out(idle)
        return backwards

    def _preparing(self, wanted: Sequence[RewriteStep]) -> list[RewriteStep]:
        """Return what `upgrade` prepares and these steps use, too."""
        users = list(wanted)
        for step in reversed(self._prepared):
            if any(one.mentions(step.names) for one in users):
                users.insert(0, step)
        return users[: len(users) - len(wanted)]

    def leave_out(self, idle: Sequence[RewriteStep]) -> None:
        """Say which statements are left out, because there is nothing left that they would do something for."""
        gone = [step.code for step in idle if step.scope]
        if gone:
            listed = "\n".join(gone)
            self.words.append(
                "left out below: what it was for leaves its transaction, by verbs that take the locks they need and give way:\n"
                f"{listed}"
            )

    def _statements(self, function: ast.FunctionDef) -> Iterator[tuple[str, ast.stmt]]:
        """Yield each statement with its own text and the comments above it, or what stands in a block that can be unfolded."""
        above = function.body[0].lineno - 1
        while above > function.lineno and self._lines[above - 1].lstrip().startswith("#"):
            above -= 1
        for node in function.body:
            end = node.end_lineno or node.lineno
            text = self._text(node, above)
            above = end
            is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
            inner = calls.unfolded(node) if isinstance(node, ast.With) else None
            if inner is not None:
                yield from ((calls.code(call), ast.Expr(call)) for call in inner)
            elif not is_docstring and not isinstance(node, ast.Pass):
                yield text, node

    def _text(self, node: ast.stmt, above: int) -> str:
        """Return the code of a statement, with all lines from behind `above` on; of several on one line, its own alone."""
        end, last = node.end_lineno or node.lineno, node.end_col_offset or 0
        before = self._lines[node.lineno - 1].encode()[: node.col_offset]
        behind = self._lines[end - 1].encode()[last:].lstrip()
        if not before.strip() and not behind.startswith(b";"):
            return steps.dedented(self._lines[above:end], self._inside, above + 1)
        first, *more = (ast.get_source_segment(self._source, node) or "").splitlines()
        return steps.dedented([" " * node.col_offset + first, *more], self._inside, node.lineno)

    def _forth(self, text: str, node: ast.stmt) -> list[RewriteStep]:
        call = calls.operation(node)
        call = calls.positional(call) if call is not None else None
        self._asked = set()
        rewritten = self._rewritten(call) if call is not None else []
        if rewritten:
            self.changed = True
            self._mended |= self._asked
            return [rewritten[0]._replace(code=steps.remarks(text) + rewritten[0].code), *rewritten[1:]]
        key, back = (alternatives.key_of(call), alternatives.way_back(call)) if call else ((), "")
        return [RewriteStep(text, self._leaves(node), key, back, transaction_bound.scope_of(node))]

    def _leaves(self, node: ast.stmt) -> bool | None:
        """Tell whether a statement leaves the transaction, in functions of the file that it calls, too; None when it does nothing."""
        if isinstance(node, ast.FunctionDef):
            return None
        called = {one.func.id for one in ast.walk(node) if isinstance(one, ast.Call) and isinstance(one.func, ast.Name)}
        found = {
            calls.leaves(node),
            *(calls.leaves(self._functions[name]) for name in called if name in self._functions),
        }
        is_elsewhere = isinstance(node, ast.Expr) and called - self._functions.keys() - {*dir(builtins)}
        return False if False in found or is_elsewhere else True if True in found else None

    def _rewritten(self, call: ast.Call) -> list[RewriteStep]:
        name = calls.name(call)
        if name == "execute":
            return self._executed(call)
        place = 1 if name.startswith("create_") else 0
        table = call.args[place] if len(call.args) > place else None
        schema = calls.schema_of(call, "source_schema")
        if name == "create_index" and (self._has("index-blocks-writes", table, schema) or _is_concurrent(call)):
            return [alternatives.index(call)]
        if name == "create_unique_constraint" and self._has("index-blocks-writes", table, schema):
            return [alternatives.constraint(call, "create_unique_constraint_concurrently", "uq", validate=False)]
        if name == "create_foreign_key" and self._has("foreign-key-blocks-writes", table, schema):
            return alternatives.validated(call, "create_foreign_key_not_valid", "fk")
        if name == "create_check_constraint" and self._has("scans-under-lock", table, schema):
            return alternatives.validated(call, "create_check_constraint_not_valid", "ck")
        if name == "alter_column" and len(call.args) > 1:
            return self._altered(call, call.args[0], schema)
        if name == "add_column" and table is not None:
            return self._added(call, table, schema)
        return []

    def _executed(self, call: ast.Call) -> list[RewriteStep]:
        sql = calls.sql(call)
        if sql is None:
            return []
        index = alternatives.CREATE_INDEX.fullmatch(sql)
        if index and self._has("index-blocks-writes", *_in_sql(index["table"], index["schema"])):
            return [alternatives.raw_index(index)]
        found = batches.of(sql)
        if found and self._has("writes-rows", calls.constant(found.table), _schema(found)):
            return [_backfill(found)]
        return []

    def _altered(self, call: ast.Call, table: ast.expr, schema: list[ast.keyword]) -> list[RewriteStep]:
        given = {keyword.arg: keyword.value for keyword in call.keywords}
        if "type_" in given and self._has("rewrites-table", table, schema):
            self.words.append(alternatives.retyped(call, given["type_"]))
            self._mended |= self._asked
            return []
        nullable = given.get("nullable")
        is_wanted = isinstance(nullable, ast.Constant) and nullable.value is False
        if not (is_wanted and self._has("scans-under-lock", table, schema)):
            return []
        rest = [keyword for keyword in call.keywords if keyword.arg != "nullable"]
        verb = ast.Call(calls.op("set_not_null"), call.args, schema)
        back = ast.Call(calls.op("drop_not_null"), verb.args, schema)
        key = ("null", *calls.texts(call.args))
        changed = [RewriteStep(calls.code(verb), outside=True, key=key, back=calls.code(back))]
        if any(keyword.arg and not _DESCRIBES.fullmatch(keyword.arg) for keyword in rest):
            changed.insert(0, RewriteStep(calls.code(ast.Call(call.func, call.args, rest)), outside=False))
        return changed

    def _added(self, call: ast.Call, table: ast.expr, schema: list[ast.keyword]) -> list[RewriteStep]:
        column = call.args[1] if len(call.args) > 1 else None
        if not isinstance(column, ast.Call) or not column.args:
            return []
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
        if key and self._has("foreign-key-blocks-writes", table, schema):
            arguments.remove(key[0])
            later += alternatives.split_key(key[0], table, name, schema)
        wanted = {one for one in ("unique", "index") if _is_true(given.get(one))}
        if wanted and self._has("index-blocks-writes", table, schema):
            gone |= wanted
            later.append(_indexed(table, name, schema, wanted))
        default = given.get("server_default")
        value = calls.value(default.value) if default else None
        if default and value and self._has("rewrites-table", table, schema):
            gone |= {"server_default", "nullable"}
            alter = ast.Call(calls.op("alter_column"), [table, name], [default, *schema])
            filled = quoted_name(calls.plain(name))
            fill = (f"{filled} = {value}", f"{filled} IS NULL")
            later.insert(0, RewriteStep(calls.code(alter), outside=False))
            written = calls.written("backfill", table, *map(calls.constant, fill), keywords=schema)
            later.append(RewriteStep(written, outside=True))
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
            return [RewriteStep(text, self._leaves(node), scope=transaction_bound.scope_of(node))]
        call = calls.positional(call)
        key = alternatives.key_of(call)
        verb = {"drop_index": "drop_index_concurrently", "drop_constraint": "drop_constraint_if_exists"}.get(
            calls.name(call)
        )
        if verb and key in self._made:
            return [RewriteStep(calls.code(ast.Call(calls.op(verb), call.args, call.keywords)), outside=True, key=key)]
        if key[:1] == ("null",) and key in self._made:
            written = calls.written("drop_not_null", *call.args, keywords=calls.schema_of(call))
            return [RewriteStep(written, outside=True, key=key)]
        found = batches.of(calls.sql(call) or "") if self._made or self.changed else None
        if found:
            return [_backfill(found)]
        return [RewriteStep(text, self._leaves(node), key, scope=transaction_bound.scope_of(node))]

    def _has(self, slug: str, table: ast.expr | None, schema: Sequence[ast.keyword] = ()) -> bool:
        """Tell whether this was found in that table; a table whose name is not written out may be any."""
        name = table.value if isinstance(table, ast.Constant) else None
        place = next((getattr(one.value, "value", None) for one in schema), None)
        found = [one for one in self._found if one.slug == slug and _is_same(one.table, name, place)]
        self._asked.update(found)
        return bool(found)


def _is_same(table: str, name: object, schema: object) -> bool:
    """Tell whether a table that PostgreSQL named may be the one that a call names; either may do so without the schema."""
    place, bare = table_names.parts(table)
    return name is None or (bare == name and (place is None or schema is None or place == schema))


def _in_sql(table: str, schema: str | None) -> tuple[ast.expr, list[ast.keyword]]:
    place = [ast.keyword("schema", calls.constant(table_names.of_sql(schema)))] if schema else []
    return calls.constant(table_names.of_sql(table)), place


def _schema(found: batches.Batches) -> list[ast.keyword]:
    return [ast.keyword("schema", calls.constant(found.schema))] if found.schema else []


def _backfill(found: batches.Batches) -> RewriteStep:
    told = map(calls.constant, (found.table, found.assignment, found.where))
    return RewriteStep(calls.written("backfill", *told, keywords=_schema(found)), outside=True)


def _indexed(table: ast.expr, column: ast.expr, schema: list[ast.keyword], wanted: set[str]) -> RewriteStep:
    """Return the index, or the unique constraint, of a new column, called as SQLAlchemy calls it."""
    columns = ast.List([column], ast.Load())
    place = [*(calls.plain(one.value) for one in schema), calls.plain(table), calls.plain(column)]
    if "index" not in wanted:
        title = calls.constant("_".join(["uq", *place[-2:]]))
        made = ast.Call(calls.op("create_unique_constraint"), [title, table, columns], schema)
        return alternatives.constraint(made, "create_unique_constraint_concurrently", "uq", validate=False)
    unique = [ast.keyword("unique", ast.Constant(True))] if "unique" in wanted else []
    title = calls.constant("_".join(["ix", *place]))
    return alternatives.index(ast.Call(calls.op("create_index"), [title, table, columns], [*unique, *schema]))


def _is_true(given: ast.keyword | None) -> bool:
    return given is not None and isinstance(given.value, ast.Constant) and given.value.value is True


def _is_concurrent(call: ast.Call) -> bool:
    return any(keyword.arg == "postgresql_concurrently" for keyword in call.keywords)
