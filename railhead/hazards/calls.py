"""How does a call of Alembic's `op` read in a revision file, and how is one written?

Syntax only: what stands in the file. Knows nothing of hazards.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence

from railhead.autogenerate import layout
from railhead.operations.verbs import REPEATABLE

_HARMLESS = frozenset({"get_context", "get_bind", "f", "inline_literal"})


def operation(node: ast.stmt) -> ast.Call | None:
    """Return the call when the statement is `op.something(...)`."""
    call = node.value if isinstance(node, ast.Expr) else None
    return call if isinstance(call, ast.Call) and _receiver(call) == "op" else None


def _receiver(call: ast.Call) -> str:
    function = call.func
    return function.value.id if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name) else ""


def name(call: ast.Call) -> str:
    """Return what is called: `create_index` for `op.create_index(...)`, `text` for `text(...)`."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def leaves(node: ast.stmt) -> bool | None:
    """Tell whether a statement leaves the transaction; None when it calls no operation at all."""
    calls = [one for one in ast.walk(node) if isinstance(one, ast.Call)]
    verbs = {name(call) for call in calls if _receiver(call) == "op"} - _HARMLESS
    if any(name(call) == "autocommit_block" for call in calls):
        return True
    works = any(name(call) in {"execute", "scalar", "exec_driver_sql"} for call in calls)
    return verbs <= REPEATABLE if verbs else False if works else None


def unfolded(node: ast.With) -> list[ast.Call] | None:
    """Return the operations in `op.batch_alter_table("task") as batch_op` or in an autocommit block, as plain ones."""
    context = node.items[0].context_expr
    calls = [one.value for one in node.body if isinstance(one, ast.Expr) and isinstance(one.value, ast.Call)]
    if len(node.items) > 1 or len(calls) != len(node.body) or not isinstance(context, ast.Call):
        return None
    if name(context) == "autocommit_block":
        known = all(name(call) in {"create_index", "drop_index"} for call in calls)
        return [_concurrently(call) for call in calls] if known else None
    if name(context) != "batch_alter_table" or not context.args:
        return None
    table = context.args[0]
    schema = [one for one in context.keywords if one.arg == "schema" and getattr(one.value, "value", "") is not None]
    batch = node.items[0].optional_vars
    spoken_of = batch.id if isinstance(batch, ast.Name) else ""
    return [_unbatched(_WithoutBatch(spoken_of).visit(call), table, schema) for call in calls]


class _WithoutBatch(ast.NodeTransformer):
    """Puts `op` where a batch was spoken of, as in `batch_op.f("name")`."""

    def __init__(self, batch: str) -> None:
        self._batch = batch

    def visit_Name(self, node: ast.Name) -> ast.Name:
        """Return `op` for the batch."""
        return ast.Name("op", node.ctx) if node.id == self._batch else node


def _unbatched(call: ast.Call, table: ast.expr, schema: list[ast.keyword]) -> ast.Call:
    behind_name = name(call).startswith("create_") or name(call) == "drop_constraint"
    arguments = [*call.args]
    place = "source_schema" if name(call) == "create_foreign_key" else "schema"
    keywords = [*call.keywords, *(ast.keyword(place, one.value) for one in schema)]
    if name(call) == "drop_index":
        keywords.insert(0, ast.keyword("table_name", table))
    else:
        arguments.insert(1 if behind_name else 0, table)
    return ast.Call(op(name(call)), arguments, keywords)


def _concurrently(call: ast.Call) -> ast.Call:
    if name(call) == "create_index":
        return ast.Call(
            call.func, call.args, [*call.keywords, ast.keyword("postgresql_concurrently", ast.Constant(True))]
        )
    return ast.Call(op("drop_index_concurrently"), call.args, call.keywords)


def sql(call: ast.Call) -> str | None:
    """Return the SQL that `op.execute` is given as a text, or as `sa.text("...")`."""
    return text(call.args[0]) if call.args and name(call) == "execute" else None


def text(node: ast.expr) -> str | None:
    """Return the SQL that stands in a text, or in `sa.text("...")`; None when it is not written out."""
    if isinstance(node, ast.Call) and name(node) == "text" and node.args:
        node = node.args[0]
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return None
    return node.value.replace("\\:", ":")  # a colon that is no parameter is escaped for SQLAlchemy


def value(default: ast.expr) -> str | None:
    """Return a server default as SQL."""
    if isinstance(default, ast.Constant) and isinstance(default.value, str):
        return "'" + default.value.replace("'", "''") + "'"
    if isinstance(default, ast.Call) and name(default) == "text" and isinstance(default.args[0], ast.Constant):
        return str(default.args[0].value)
    if isinstance(default, ast.Call) and isinstance(default.func, ast.Attribute) and not default.args:
        return f"{default.func.attr}()"  # sa.func.gen_random_uuid()
    return None


def argument(call: ast.Call, position: int, *names: str) -> ast.expr | None:
    """Return what is given at this place or by one of these names."""
    given = next((keyword.value for keyword in call.keywords if keyword.arg in names), None)
    return call.args[position] if len(call.args) > position else given


def elements(node: ast.expr) -> list[ast.expr]:
    """Return what stands in a list that is written out."""
    return list(node.elts) if isinstance(node, ast.List | ast.Tuple) else []


def texts(nodes: Sequence[ast.expr]) -> list[str]:
    """Return each as `plain` does."""
    return [plain(node) for node in nodes]


def plain(node: ast.expr) -> str:
    """Return the text of a name, whether it is `"name"` or `op.f("name")`; of anything else its code."""
    if isinstance(node, ast.Call) and name(node) == "f" and node.args:
        node = node.args[0]
    return str(node.value) if isinstance(node, ast.Constant) else ast.unparse(node)


def op(name: str) -> ast.Attribute:
    """Return `op.name`."""
    return ast.Attribute(ast.Name("op", ast.Load()), name, ast.Load())


def constant(value: str) -> ast.expr:
    """Return a text as code."""
    return ast.Constant(value)


def written(verb: str, *arguments: ast.expr, keywords: Sequence[ast.keyword] = ()) -> str:
    """Return the code of `op.verb(...)`."""
    return code(ast.Call(op(verb), list(arguments), list(keywords)))


def schema_of(call: ast.Call, argument: str = "schema") -> list[ast.keyword]:
    """Return the keyword that says in which schema the table of a call is, as `schema`; none where it does not say."""
    given = [one.value for one in call.keywords if one.arg in {"schema", argument}]
    return [ast.keyword("schema", one) for one in given if getattr(one, "value", "") is not None]


def positional(call: ast.Call) -> ast.Call:
    """Return the call of an operation with its first arguments by place, as most people write them."""
    places, keywords = list(call.args), list(call.keywords)
    for argument in _PLACES.get(name(call), ())[len(places) :]:
        given = next((one for one in keywords if one.arg == argument), None)
        if given is None:
            break
        places.append(given.value)
        keywords.remove(given)
    return ast.Call(call.func, places, keywords)


_PLACES = {
    "add_column": ("table_name", "column"),
    "alter_column": ("table_name", "column_name"),
    "create_check_constraint": ("constraint_name", "table_name", "condition"),
    "create_foreign_key": ("constraint_name", "source_table", "referent_table", "local_cols", "remote_cols"),
    "create_index": ("index_name", "table_name", "columns"),
    "create_unique_constraint": ("constraint_name", "table_name", "columns"),
    "drop_column": ("table_name", "column_name"),
    "drop_constraint": ("constraint_name", "table_name"),
    "drop_index": ("index_name",),
}


def code(call: ast.Call) -> str:
    """Return the code of a call, in lines that are not too long."""
    text = layout.tidy(ast.unparse(ast.fix_missing_locations(call)))
    first, *rest = text.splitlines()
    return "\n".join([first, *(line.removeprefix("    ") for line in rest)])
