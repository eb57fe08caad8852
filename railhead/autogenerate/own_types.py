"""How is a type that is not SQLAlchemy's own written into a file?

As the plain type below it where that makes the same column: then the file needs nothing of the application, whatever becomes of it.
Else with an import; where no words make it again, as SQL writes it. Each is tried before it is written. Never connects.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from typing import Any, Literal

import sqlalchemy as sa
from alembic.autogenerate import render
from alembic.autogenerate.api import AutogenContext
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.util import constructor_copy, generic_repr

from railhead.autogenerate.same_sql import type_sql
from railhead.operations.types import SqlType

Type = sa.types.TypeEngine[Any]
_NO_TYPES = {sa.types.UserDefinedType, sa.types.TypeEngine, sa.types.TypeDecorator}


def renderer(given: Callable[..., Any] | None, *, prefixed: bool) -> Callable[..., Any]:
    """Return what Alembic calls for each thing that it writes: the project's own function first.

    `prefixed` says that the project names a prefix for such types, and imports it in its template.
    """

    def render_item(kind: str, thing: Any, context: AutogenContext) -> str | Literal[False]:
        rendered: str | Literal[False] = given(kind, thing, context) if given else False
        if rendered is not False or kind != "type" or prefixed:
            return rendered
        return written(thing, context)

    return render_item


def written(type_: Type, context: AutogenContext) -> str | Literal[False]:
    """Return the type as Python, and note what that imports; False for SQLAlchemy's own, which Alembic writes."""
    if isinstance(type_, pg.DOMAIN):
        return _domain(type_, context)
    if _is_alchemys(type(type_)):
        return False
    assert context.imports is not None
    for text, imported in _candidates(type_, context):
        if _is_same(text, imported, type_, context):
            context.imports.update({f"import {imported}"} if imported else ())
            return text
    context.imports.add(f"from {SqlType.__module__} import {SqlType.__name__}")
    return f"{SqlType.__name__}({type_sql(type_, context.dialect)!r})"


def _domain(type_: pg.DOMAIN, context: AutogenContext) -> str:
    """Return a domain that is there already: what makes it comes first."""
    assert context.imports is not None
    context.imports.add("from sqlalchemy.dialects import postgresql")
    below = render._repr_type(type_.data_type, context)  # noqa: SLF001
    schema = f", schema={type_.schema!r}" if type_.schema else ""
    return f"postgresql.DOMAIN({str(type_.name)!r}, {below}{schema}, create_type=False)"


def _is_alchemys(class_: type) -> bool:
    return class_.__module__.startswith("sqlalchemy.")


def _candidates(type_: Type, context: AutogenContext) -> Iterator[tuple[str, str | None]]:
    for plain in _plain(type_, context.dialect):
        yield render._repr_type(plain, context), None  # noqa: SLF001  Alembic's own way to write a type
    class_ = type(type_)
    if "<" in class_.__qualname__:
        return
    module = _home(class_)
    for words in (repr(type_), generic_repr(type_)):
        yield f"{module}.{words}", module


def _plain(type_: Type, dialect: sa.Dialect) -> Iterator[Type]:
    """Yield types of SQLAlchemy's that may be the same in the database."""
    variant = getattr(type_, "_variant_mapping", {}).get("postgresql")
    if variant is not None:
        yield variant
    if isinstance(type_, sa.types.TypeDecorator):
        below = type_.load_dialect_impl(dialect)
        yield below
        yield from _ancestors(below)
    else:
        yield from _ancestors(type_)


def _ancestors(type_: Type) -> Iterator[Type]:
    """Yield the type as what its class is derived from, the nearest first."""
    for class_ in type(type_).__mro__:
        public: Any = getattr(pg if "dialects" in class_.__module__ else sa.types, class_.__name__, None)
        if (
            public is class_
            and _is_alchemys(class_)
            and class_ not in _NO_TYPES
            and issubclass(class_, sa.types.TypeEngine)
        ):
            try:
                yield constructor_copy(type_, class_)
            except Exception:  # noqa: S112  anybody's class: then it is not to be written so
                continue


def _home(class_: type) -> str:
    """Return the shortest module that gives the class under its name."""
    parts = class_.__module__.split(".")
    for end in range(1, len(parts)):
        module = ".".join(parts[:end])
        if getattr(sys.modules.get(module), class_.__qualname__, None) is class_:
            return module
    return class_.__module__


def _is_same(text: str, imported: str | None, type_: Type, context: AutogenContext) -> bool:
    names: dict[str, object] = {"sa": sa, "postgresql": pg, "sqlalchemy": sa}
    try:
        if imported:
            importlib.import_module(imported)
            root = imported.partition(".")[0]
            names[root] = sys.modules[root]
        other = eval(text, names)  # noqa: S307  what is about to be written into a file that is loaded
    except Exception:
        return False
    dialect: sa.Dialect = context.dialect
    return isinstance(other, sa.types.TypeEngine) and type_sql(other, dialect) == type_sql(type_, dialect)
