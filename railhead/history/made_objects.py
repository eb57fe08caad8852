"""What has this history made, by what stands in the files of its revisions?

Syntax only: no revision is run, because running one may do more. What it surely has made (`made`) may be dropped; what cannot be read was
made by nobody: to leave alone what is ours is told and harmless, to drop what is somebody else's is neither. What it may have made
(`may_make`) is not taken for a stranger's: where a name cannot be read, every text of the file may be it.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from railhead.history import manifest
from railhead.history.expressions import UNKNOWN, Expressions
from railhead.history.graph import History, source_of, syntax
from railhead.history.made_by_sql import (
    ANYWHERE,
    RELATION,
    ROUTINE,
    SCHEMA,
    TYPE,
    Event,
    MadeObject,
    SqlReader,
    ends_before_a_name,
)


class MadeObjects(frozenset[MadeObject]):
    """What is there when every revision has run, as far as the files tell."""

    def holds(self, kind: str, schema: str, name: str, *, at_home: bool) -> bool:
        """Tell whether this was made; `at_home`: in the schema where a name without one leads."""
        places = (schema, ANYWHERE, *([None] if at_home else []))
        return any(MadeObject(kind, place, name) in self for place in places)

    @property
    def tables(self) -> set[tuple[str | None, str]]:
        """Return the schema and the name of each table, view and sequence."""
        return {(made.schema, made.name) for made in self if made.kind == RELATION}


def made(files: Iterable[Path], folder: Path) -> MadeObjects:
    """Return what revisions make and leave there, whose files are given in their order, each read once in a process.

    `folder` is that of the migrations: a history may begin with a baseline there.
    """
    standing: dict[MadeObject, None] = {}
    for event in _events(files, folder):
        if event.made:
            standing[event.object] = None
        else:
            standing.pop(event.object, None)
    return MadeObjects(standing)


def made_at(history: History, versions: Iterable[str] | None = None) -> MadeObjects:
    """Return what a database at these versions has of this history; of all of it unless they are given."""
    applied = set(history.by_id) if versions is None else history.ancestors(versions)
    files = [revision.path for revision in history.by_id.values() if revision.id in applied]
    return made(files, history.project.manifest.parent)


def may_make(history: History, tables: Iterable[str]) -> set[str]:
    """Return those of `tables`, names without a schema, that a revision may make, or the baseline of the history.

    Reads files only, and closely those that name one.
    """
    named = {*tables}
    baseline = history.project.baseline
    ours = named & {*_tables_in_sql(baseline.read_text(encoding="utf-8"))} if baseline.is_file() else set()
    for revision in history.by_id.values():
        source = source_of(revision.path)
        folded = source.casefold()
        if any(name.casefold() in folded for name in named - ours):
            ours |= named & {*tables_in(source)}
    return ours


def tables_in(source: str) -> Iterator[str]:
    """Yield the names of the tables that a revision's source makes, and every text in it when one of them cannot be read."""
    nodes = [*ast.walk(syntax(source))]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    names = [name for node in nodes if isinstance(node, ast.Call) for name in _tables_of_call(node)]
    names += [name for text in texts for name in _tables_in_sql(text)]
    yield from (name for name in names if name)
    if None in names:
        yield from texts


def _tables_in_sql(text: str) -> Iterator[str | None]:
    """Yield the names of the relations that SQL makes, None where one is to follow."""
    yield from (event.object.name for event in SqlReader().events(text) if event.made and event.object.kind == RELATION)
    if ends_before_a_name(text):
        yield None


def _tables_of_call(call: ast.Call) -> Iterator[str | None]:
    """Yield the name that a call gives to a relation, None when it is not written out."""
    verb = _verb(call)
    if verb == "rename_table":
        node = _argument(call, 1, ("new_table_name",))
    elif verb in _NAMED_AT and _NAMED_AT[verb][2]:
        node = _argument(call, *_NAMED_AT[verb][:2])
    else:
        return
    if isinstance(node, ast.Call) and len(node.args) == 1:  # op.f("name"), quoted_name("name")
        node = node.args[0]
    yield str(node.value) if isinstance(node, ast.Constant) else None


def _verb(call: ast.Call) -> str:
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def _events(files: Iterable[Path], folder: Path) -> Iterator[Event]:
    if manifest.origin(folder / "manifest.txt").baseline:
        yield from _of_sql_file(folder / "baseline.sql")
    for file in files:
        yield from _of_file(file, *_state(file))


def _state(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=8192)
def _of_file(path: Path, *_state: int) -> tuple[Event, ...]:
    try:
        return tuple(_File(syntax(source_of(path)), path.parent).events())
    except (OSError, SyntaxError, ValueError):
        return ()


def _of_sql_file(path: Path) -> list[Event]:
    try:
        return list(SqlReader().events(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError):
        return []


_NAMED_AT = {
    "create_table": (0, ("table_name", "name"), True),
    "drop_table": (0, ("table_name", "name"), False),
    "Sequence": (0, ("name",), True),
    "Table": (0, ("name",), True),
}
"""Calls that make or drop a relation: at which place its name stands, or under which names of an argument."""


class _File:
    """Follows `upgrade()` of one revision, into the functions and constants of its module."""

    def __init__(self, tree: ast.Module, folder: Path) -> None:
        self._tree = tree
        self._folder = folder
        self._functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
        self._expressions = Expressions()
        self._constants: set[str] = set()
        self._sql = SqlReader()
        self._inside: list[str] = []
        self._creates = False

    def events(self) -> Iterator[Event]:
        """Yield what is made and dropped, in the order in which that happens."""
        rest = [node for node in self._tree.body if not isinstance(node, ast.FunctionDef)]
        for node in rest:
            self._give(node)
        self._constants = set(self._expressions.given)
        upgrade = self._functions.get("upgrade")
        if upgrade is None:
            return
        self._creates = self._makes_what_it_declares()
        if self._creates:
            yield from self._all(node for node in rest if _declares_a_table(node))
        yield from self._all(upgrade.body)

    def _makes_what_it_declares(self) -> bool:
        """Tell whether what the module declares as SQLAlchemy's tables is made: by `create` or `create_all`."""
        return any(
            isinstance(node, ast.Attribute) and node.attr in {"create", "create_all"}
            for name, function in self._functions.items()
            if name != "downgrade"
            for node in ast.walk(function)
        )

    def _all(self, nodes: Iterable[ast.AST]) -> Iterator[Event]:
        for node in nodes:
            yield from self._walk(node)

    def _walk(self, node: ast.AST) -> Iterator[Event]:
        self._give(node)
        match node:
            case ast.FunctionDef(name=name):
                self._functions[name] = node
            case ast.Expr(value=ast.Constant()):
                pass  # a docstring, or a remark
            case ast.ClassDef(body=body):
                yield from self._declared(body)
            case ast.Constant(value=str()) | ast.JoinedStr():
                yield from self._said(node)
            case ast.BinOp() if self._expressions.texts(node):
                yield from self._said(node)
            case ast.Call():
                yield from self._called(node)
            case ast.Name(id=name) if name in self._constants and name not in self._inside:
                yield from self._inlined(name, self._expressions.given[name])
            case _:
                yield from self._all(ast.iter_child_nodes(node))

    def _give(self, node: ast.AST) -> None:
        match node:
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._expressions.give(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._expressions.give(target, value)
            case ast.For(target=target, iter=iterated) | ast.comprehension(target=target, iter=iterated):
                for element in self._expressions.elements(iterated):
                    self._expressions.give(target, element)
            case ast.ListComp(generators=loops) | ast.SetComp(generators=loops) | ast.GeneratorExp(generators=loops):
                for loop in loops:
                    self._give(loop)

    def _said(self, node: ast.AST) -> Iterator[Event]:
        for text in self._expressions.texts(node):
            yield from self._sql.events(text)
            if text.endswith(".sql") and UNKNOWN not in text:
                yield from self._in_file(text)

    def _in_file(self, name: str) -> Iterator[Event]:
        """Yield what a file of SQL does that a revision names: beside it, or anywhere below the folder of migrations."""
        for path in sorted(self._folder.parent.rglob(Path(name).name)):
            try:
                yield from self._sql.events(path.read_text(encoding="utf-8"))
            except (OSError, UnicodeDecodeError):
                continue

    def _called(self, call: ast.Call) -> Iterator[Event]:
        verb = _verb(call)
        if verb in self._functions and isinstance(call.func, ast.Name) and verb not in self._inside:
            yield from self._all([*call.args, *(keyword.value for keyword in call.keywords)])
            function, names = self._functions[verb], self._expressions.given
            self._expressions.given = {**names, **self._arguments(function, call)}
            yield from self._inlined(verb, function.body)
            self._expressions.given = names
        elif verb == "format" and self._expressions.texts(call):
            yield from self._said(call)
        else:
            yield from self._of_verb(verb, call)
            yield from self._all(ast.iter_child_nodes(call))

    def _of_verb(self, verb: str, call: ast.Call) -> Iterator[Event]:
        schema = _argument(call, None, ("schema",))
        if verb in _NAMED_AT and (verb != "Table" or (self._creates and _has_columns(call))):
            place, names, is_made = _NAMED_AT[verb]
            yield from self._named(is_made, RELATION, _argument(call, place, names), schema)
        elif verb == "rename_table":
            yield from self._named(False, RELATION, _argument(call, 0, ("old_table_name",)), schema)
            yield from self._named(True, RELATION, _argument(call, 1, ("new_table_name",)), schema)
        elif verb.upper().endswith("ENUM"):
            yield from self._named(True, TYPE, _argument(call, None, ("name",)), schema)
        elif verb == "CreateSchema":
            yield from self._named(True, SCHEMA, _argument(call, 0, ("name", "element")), None)
        elif signature := _argument(call, None, ("signature",)):  # alembic_utils
            for kind in (RELATION, ROUTINE):
                yield from self._named(True, kind, signature, schema)

    def _named(self, made: bool, kind: str, name: ast.expr | None, schema: ast.expr | None) -> Iterator[Event]:
        is_said = schema is not None and not (isinstance(schema, ast.Constant) and schema.value is None)
        schemas: list[str | None] = [*(self._expressions.texts(schema) or [ANYWHERE])] if is_said else [None]
        for text in self._expressions.texts(name):
            for place in schemas:
                yield from self._sql.event(made, kind, place, text.partition("(")[0])

    def _declared(self, body: list[ast.stmt]) -> Iterator[Event]:
        """Yield the table of a declarative class."""
        values = {
            target.id: node.value
            for node in body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        if "__tablename__" in values:
            yield from self._named(True, RELATION, values["__tablename__"], None)
        yield from self._all(body)

    def _arguments(self, function: ast.FunctionDef, call: ast.Call) -> dict[str, list[ast.expr]]:
        """Return what the parameters of a function are given by a call."""
        parameters = [parameter.arg for parameter in (*function.args.posonlyargs, *function.args.args)]
        arguments = dict(zip(parameters, call.args, strict=False))
        arguments |= {keyword.arg: keyword.value for keyword in call.keywords if keyword.arg}
        return {
            name: [ast.Constant(text) for text in self._expressions.texts(value)] or [value]
            for name, value in arguments.items()
        }

    def _inlined(self, name: str, body: Iterable[ast.AST]) -> Iterator[Event]:
        self._inside.append(name)
        try:
            yield from self._all(list(body))
        finally:
            self._inside.pop()


def _argument(call: ast.Call, place: int | None, names: Collection[str | None]) -> ast.expr | None:
    named = next((keyword.value for keyword in call.keywords if keyword.arg in names), None)
    return named if named or place is None or len(call.args) <= place else call.args[place]


def _has_columns(call: ast.Call) -> bool:
    """Tell whether a call of Table says what is in it; one that does not asks the database."""
    return len(call.args) > 2 and not any((keyword.arg or "").startswith("autoload") for keyword in call.keywords)


def _declares_a_table(node: ast.AST) -> bool:
    return isinstance(node, ast.ClassDef) or any(
        isinstance(inner, ast.Call) and _verb(inner) == "Table" for inner in ast.walk(node)
    )
