"""What becomes of an env.py? Its own parts stay as they are; connecting and running, which the engine does, go.

What it told `context.configure` is told to the engine's door under the same names. What that does not take is never lost in silence.
"""

from __future__ import annotations

import ast
import builtins
import sys
import textwrap
from typing import NamedTuple

TAKEN = [
    "ignore",
    "include_schemas",
    "include_name",
    "include_object",
    "render_item",
    "compare_type",
    "compare_server_default",
    "process_revision_directives",
    "user_module_prefix",
    "sqlalchemy_module_prefix",
    "alembic_module_prefix",
]
"""What the door takes, in the words of `context.configure`."""

KEPT_IN = ("version_table", "version_table_schema")
"""What alembic.ini says, because a start reads it without env.py."""

_ENGINES_OWN = {
    *(
        "connection",
        "url",
        "dialect_name",
        "dialect_opts",
        "literal_binds",
        "target_metadata",
        "as_sql",
        "starting_rev",
        "tag",
    ),
    *("render_as_batch", "transaction_per_migration", "transactional_ddl", "compare_enums", "output_buffer"),
}
"""What the engine decides by itself."""

DOCUMENTATION = '"""Where Alembic enters: every command, typed or called, goes through the same story in `railhead.execution.entry`."""\n'

FLASK = f"""{DOCUMENTATION}
from alembic import context

from railhead.contrib.flask import enter

enter(context)
"""
"""The env.py of an application with Flask-SQLAlchemy that said nothing of its own."""

_PLUMBING = {
    "fileConfig",
    "dictConfig",
    "engine_from_config",
    "pool",
    "create_engine",
    "async_engine_from_config",
    "asyncio",
    "logging",
}


_DEFAULTS = {("compare_type", "True"), ("compare_server_default", "True")}


_SETS_URL = "set_main_option('sqlalchemy.url'"


class Taken(NamedTuple):
    """The new text, and what is to be said of it."""

    text: str
    arguments: tuple[str, ...] = ()
    """Names that were taken over."""
    options: dict[str, str] = {}
    """What goes into `[railhead]` of alembic.ini."""
    lost: tuple[str, ...] = ()
    """What somebody has to look at: it stands in the new text as a remark."""


def is_door(text: str) -> bool:
    """Tell whether an env.py is the engine's door already."""
    return "entry.enter(" in text or "railhead.contrib.flask import enter" in text


def taken_over(text: str, *, flask: bool) -> Taken:
    """Return the new env.py. With `flask` models and context are the application's. Raises SyntaxError."""
    tree = ast.parse(text)
    said = _said(tree)
    of_app = flask and "current_app" in text
    kept = [node for node in tree.body if not _is_plumbing(node, of_app)]
    hoisted, arguments, options, lost = [], {}, {}, []
    bound = {word for node in kept for word in _binds(node)}
    constants = {_target(node): _text_in(node) for node in kept if _is_text(node)}
    for name, value in said.items():
        local = _local_function(tree, value)
        if name in KEPT_IN and isinstance(given := _constant(value, constants), str):
            options[name] = given
        elif name not in TAKEN or (local is None and _unknown_words(value, bound)):
            lost.append(f"{name}={ast.unparse(value)}")
        elif local is None:
            arguments[name] = ast.unparse(value)
        elif not _only_drops_empty_files(local):
            hoisted.append(textwrap.dedent(_source(text, local)))
            arguments[name] = ast.unparse(value)
    arguments = {name: value for name, value in arguments.items() if (name, value) not in _DEFAULTS}
    lost += _also_done(tree)
    if of_app and not (arguments or lost or _own_parts(kept)):
        return Taken(FLASK, options=options)
    body = _referenced(kept, [*hoisted, *arguments.values(), "target_metadata"], text)
    return Taken(
        _assembled(body, hoisted, arguments, lost, _door(tree, of_app, flask)), tuple(arguments), options, tuple(lost)
    )


def _said(tree: ast.Module) -> dict[str, ast.expr]:
    """Return what `context.configure` is called with where a connection is there, without what the engine decides."""
    said: dict[str, ast.expr] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("context.configure"):
            for keyword in node.keywords:
                if keyword.arg and keyword.arg not in _ENGINES_OWN:
                    said[keyword.arg] = keyword.value
                elif keyword.arg is None and isinstance(keyword.value, ast.Dict):
                    pairs = zip(keyword.value.keys, keyword.value.values, strict=True)
                    said |= {str(key.value): value for key, value in pairs if isinstance(key, ast.Constant)}
                elif (
                    keyword.arg is None
                    and "configure_args" not in (text := ast.unparse(keyword.value))
                    and text != "conf_args"
                ):
                    said[f"**{text}"] = keyword.value
    return {name: value for name, value in said.items() if name not in _ENGINES_OWN}


def _also_done(tree: ast.Module) -> list[str]:
    """Return what is executed beside the migrations where they are run: a schema that is made, a role that is set."""
    runs = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _is_plumbing(node, False)
    ]
    calls = (node for function in runs for node in ast.walk(function) if isinstance(node, ast.Expr))
    texts = (ast.unparse(node) for node in calls if isinstance(node.value, ast.Call))
    return [text for text in texts if ".execute(" in text or ".exec_driver_sql(" in text]


def _binds(node: ast.stmt) -> set[str]:
    """Return the names that a statement at the top of the module gives a meaning."""
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {_bound(name) for name in node.names}
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    return {part.id for part in ast.walk(node) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store)}


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _text_in(node: ast.stmt) -> str:
    return str(ast.literal_eval(node.value)) if isinstance(node, ast.Assign) else ""


def _constant(value: ast.expr, constants: dict[str, str]) -> object:
    return value.value if isinstance(value, ast.Constant) else constants.get(ast.unparse(value))


def _unknown_words(value: ast.expr, bound: set[str]) -> set[str]:
    """Return the names in an expression that mean nothing where the door is opened."""
    inside = {argument.arg for node in ast.walk(value) if isinstance(node, ast.Lambda) for argument in node.args.args}
    words = {node.id for node in ast.walk(value) if isinstance(node, ast.Name)}
    return words - bound - inside - set(dir(builtins)) - {"context", "config"}


def _local_function(tree: ast.Module, value: ast.expr) -> ast.FunctionDef | None:
    """Return the function inside another one that `value` names."""
    if not isinstance(value, ast.Name):
        return None
    inner = (
        node
        for outer in tree.body
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(outer)
        if isinstance(node, ast.FunctionDef) and node is not outer
    )
    return next((node for node in inner if node.name == value.id), None)


def _only_drops_empty_files(function: ast.FunctionDef) -> bool:
    """Tell whether this is Flask-Migrate's own, or its like: the engine writes no file where nothing has changed."""
    text = ast.unparse(function)
    return "is_empty()" in text and "directives[:] = []" in text and len(function.body) <= 2


def _is_plumbing(node: ast.stmt, of_app: bool) -> bool:
    """Tell whether a statement only connects and runs, or sets up what that needs."""
    text = ast.unparse(node)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        runs = "context.configure" in text or "run_migrations" in text or "context.run_migrations" in text
        return (
            runs or node.name in {"get_engine", "get_engine_url", "get_url"} or (of_app and node.name == "get_metadata")
        )
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # its docstring
    if isinstance(node, ast.If) and any(word in text for word in ("is_offline_mode", "fileConfig", _SETS_URL)):
        return True
    if isinstance(node, ast.Expr | ast.Assign) and any(
        word in text for word in ("fileConfig(", _SETS_URL, "run_migrations_", "run_async_migrations")
    ):
        return True
    if isinstance(node, ast.Assign) and text in {"config = context.config", "target_metadata = None"}:
        return True
    return of_app and isinstance(node, ast.Assign) and "current_app" in text


def _own_parts(kept: list[ast.stmt]) -> bool:
    return any(
        not isinstance(node, ast.Import | ast.ImportFrom) and "getLogger" not in ast.unparse(node) for node in kept
    )


def _referenced(kept: list[ast.stmt], more: list[str], text: str) -> list[str]:
    """Return the statements that stay, without imports and loggers that nothing uses any more."""
    others = [node for node in kept if not isinstance(node, ast.Import | ast.ImportFrom)]
    words = {
        node.id
        for part in [*others, *map(ast.parse, more)]
        for node in ast.walk(part)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    if "config" in words and not any(ast.unparse(node).startswith("config =") for node in others):
        more = [*more, "config = context.config"]
    lines = []
    for node in kept:
        if isinstance(node, ast.Import | ast.ImportFrom):
            statement = _import(text, node, words)
            lines += [statement] if statement else []
        elif not ("getLogger" in ast.unparse(node) and not words & {_target(node)}):
            lines.append(_source(text, node))
    if more and more[-1] == "config = context.config":
        place = next((index for index, line in enumerate(lines) if not line.startswith(("import", "from"))), len(lines))
        lines.insert(place, "config = context.config")
    return lines


def _target(node: ast.stmt) -> str:
    return ast.unparse(node.targets[0]) if isinstance(node, ast.Assign) else ""


def _import(text: str, node: ast.Import | ast.ImportFrom, words: set[str]) -> str | None:
    """Return an import without the names that nothing uses; what is the project's own may be imported for its effect."""
    module = getattr(node, "module", None) or ""
    names = [name for name in node.names if _bound(name) in words or not _is_others(module or name.name, name.name)]
    if not names or module == "__future__":
        return None
    if len(names) == len(node.names):
        return _source(text, node)
    return ast.unparse(type(node)(**{**vars(node), "names": names}))


def _is_others(module: str, name: str) -> bool:
    """Tell whether an import is of a library, which has no effect here but its names."""
    top = module.partition(".")[0]
    return top in sys.stdlib_module_names or top in {"alembic", "flask", "sqlalchemy", "sqlmodel"} or name in _PLUMBING


def _bound(name: ast.alias) -> str:
    return name.asname or name.name.partition(".")[0]


def _door(tree: ast.Module, of_app: bool, flask: bool) -> tuple[list[str], str]:
    """Return what is imported for the door, and how it is opened."""
    if of_app:
        return ["from railhead.contrib.flask import enter"], "enter(context"
    door = [
        "from railhead.execution import entry",
        "from railhead.operations import verbs  # noqa: F401  registers the verbs that migrations use",
    ]
    metadata = next(
        (
            node.value
            for node in reversed(tree.body)
            if isinstance(node, ast.Assign | ast.AnnAssign) and _names(node) == "target_metadata"
        ),
        None,
    )
    several = isinstance(metadata, ast.List | ast.Tuple)
    if several:
        door.insert(0, "from railhead.named_models import together")
    if flask:
        door.insert(0, "from railhead.contrib.flask import around")
    models = "lambda: together(target_metadata)" if several else "lambda: target_metadata"
    return door, f"entry.enter(context, {models}" + (", around=around" if flask else "")


def _names(node: ast.Assign | ast.AnnAssign) -> str:
    return ast.unparse(node.targets[0] if isinstance(node, ast.Assign) else node.target)


def _source(text: str, node: ast.stmt) -> str:
    """Return a statement as it was written, with the remarks directly above it."""
    lines = text.splitlines()
    first = min([node.lineno, *(decorator.lineno for decorator in getattr(node, "decorator_list", ()))]) - 1
    above = first
    while above and lines[above - 1].lstrip().startswith("#"):
        above -= 1
    end = node.end_lineno or node.lineno
    return "\n".join(lines[above:end])


def _assembled(
    body: list[str], hoisted: list[str], arguments: dict[str, str], lost: list[str], door: tuple[list[str], str]
) -> str:
    imports = [line for line in body if line.startswith(("import ", "from "))]
    others = [line for line in body if line not in imports]
    call = ", ".join([door[1], *(f"{name}={value}" for name, value in arguments.items())]) + ")"
    if len(call) > 110:
        inner = [door[1].split("(", 1)[1], *(f"{name}={value}" for name, value in arguments.items())]
        call = door[1].split("(", 1)[0] + "(\n" + "".join(f"    {part},\n" for part in inner) + ")"
    remarks = [f"# Not taken over, look at it: {text}" for text in lost]
    parts = ["\n".join(["from alembic import context", *imports, "", *door[0]])]
    parts += [""] * bool(others or hoisted)
    parts += [
        f"\n{part}\n" if part.lstrip("# ").startswith(("def ", "class ", "async ")) or "\ndef " in part else part
        for part in [*others, *hoisted]
    ]
    return "\n".join([DOCUMENTATION, *parts, "", *remarks, call, ""])
