"""Does a file that is about to be written load, and does what it calls make sense?

It is made as Alembic would write it, loaded, and its functions are called with an `op` that does nothing. Never connects.
"""

from __future__ import annotations

import datetime as dt
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic.autogenerate import render_op_text
from alembic.autogenerate.api import AutogenContext
from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import format_as_comma
from mako.template import Template  # type: ignore[import-untyped]  # has none

from railhead.errors import Stop


def assert_loadable(
    context: MigrationContext, script: ScriptDirectory, files: list[ops.MigrationScript], arguments: Mapping[str, Any]
) -> None:
    """Return where each file, written with the project's template, can be loaded and called.

    Raises Stop(`revision-unloadable`), which says what is missing, before the first is written.
    """
    for file in files:
        try:
            _call(_text(context, script, file, arguments), context.dialect)
        except Stop:
            raise
        except Exception as error:
            raise _unloadable(file, error) from error


def _text(
    context: MigrationContext, script: ScriptDirectory, file: ops.MigrationScript, arguments: Mapping[str, Any]
) -> str:
    autogen = AutogenContext(context, autogenerate=False)
    autogen.imports = set()
    upgrades, downgrades = (
        "\n".join(f"    {line}" for step in half.ops for text in _rendered(autogen, step) for line in text.splitlines())
        for half in (file.upgrade_ops, file.downgrade_ops)
        if half is not None
    )
    template = Template(filename=str(Path(script.dir) / "script.py.mako"))  # noqa: S702  Python, not HTML
    return str(
        template.render(
            **{
                **arguments,
                "up_revision": file.rev_id,
                "down_revision": None,
                "branch_labels": None,
                "depends_on": None,
                "create_date": dt.datetime.now(dt.UTC),
                "comma": format_as_comma,
                "message": file.message or "",
                "upgrades": upgrades.strip(),
                "downgrades": downgrades.strip(),
                "imports": "\n".join(sorted(autogen.imports)),
                "config": script,
            }
        )
    )


def _rendered(autogen: AutogenContext, step: ops.MigrateOperation) -> Iterator[str]:
    yield render_op_text(autogen, step)


def _call(text: str, dialect: sa.Dialect) -> None:
    module = types.ModuleType("revision")
    exec(compile(text, "revision.py", "exec"), module.__dict__)  # noqa: S102  it is about to be written, and loaded by everybody
    if hasattr(module, "op"):
        module.op = _Paper(dialect)  # type: ignore[attr-defined]
    for name in ("upgrade", "downgrade"):
        getattr(module, name)()


class _Paper:
    """An `op` that looks at what it is given, and does nothing."""

    def __init__(self, dialect: sa.Dialect) -> None:
        self._dialect = dialect

    def __getattr__(self, name: str) -> Any:
        def call(*args: object, **kw: object) -> object:
            for argument in (*args, *kw.values()):
                self._look_at(argument)
            return args[0] if name == "f" else None

        return call

    def _look_at(self, argument: object) -> None:
        if isinstance(argument, sa.Column):
            argument = argument.type
        if isinstance(argument, sa.types.TypeEngine) and not isinstance(argument, sa.types.NullType):
            argument.compile(dialect=self._dialect)


def _unloadable(file: ops.MigrationScript, error: Exception) -> Stop:
    said = f"{type(error).__name__}: {error}"
    return Stop(
        "revision-unloadable",
        "what was to be written cannot be loaded: nothing was written",
        facts=[("file", f"{file.rev_id}.py"), ("said", said)],
        database="unchanged",
        next_step="import what is missing in migrations/script.py.mako, or say in migrations/env.py how it is written:\n"
        "entry.enter(context, models, render_item=...)",
    )
