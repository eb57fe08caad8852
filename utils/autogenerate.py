"""What does Alembic's proposal become? Files with ids in sequence, and operations that do not stop traffic.

`migrations/env.py` hands `options` to Alembic for the commands that read. Nothing here changes a database.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from alembic.operations import ops
from alembic.runtime.environment import EnvironmentContext
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from utils import layout
from utils.logs import log

ID_LENGTH = 32
"""The width of alembic_version.version_num: a longer id would fail when it is applied, not before."""

OWN_TABLES = frozenset({"alembic_version", "migration_ledger"})
"""Tables that the engine keeps beside the models'."""

_NUMBERED = re.compile(r"(\d{4,})_[a-z]")
_IMPORTS = {"op.": "from alembic import op", "sa.": "import sqlalchemy as sa"}


def options(context: EnvironmentContext) -> dict[str, object]:
    """Return what `context.configure` needs for `revision`, `check` and comparisons; `context` is Alembic's own."""
    import alembic_postgresql_enum  # noqa: F401  its comparison of enum types enters Alembic on import; costs 15 ms

    tables: dict[str, str] = {}

    def propose(migration_context: MigrationContext, _revision: object, scripts: list[ops.MigrationScript]) -> None:
        if not _is_check(migration_context):
            scripts[:] = _proposals(migration_context, context.script, scripts[0], tables)

    return {
        "process_revision_directives": propose,
        "include_name": include_name,
        "compare_type": True,
        "compare_server_default": True,
        "autogenerate_plugins": ["alembic.autogenerate.*", "alembic.ext.checkconstraint_byname"],
        "template_args": {"body": body, "headline": headline, "needed": needed, "tables": tables, "value": layout.tidy},
    }


def include_name(name: str | None, kind: str, _parents: Mapping[str, str | None]) -> bool:
    """Tell whether a thing that Alembic found in the database is for the models to speak of."""
    return not (kind == "table" and name in OWN_TABLES)


def next_number(script: ScriptDirectory) -> int:
    """Return one more than the highest number in use, whichever branch it is on."""
    revisions = list(script.walk_revisions())
    folders = {Path(revision.path).parent for revision in revisions}
    names = [revision.revision for revision in revisions]
    names += [file.stem for folder in folders for file in folder.glob("*.py")]
    numbers = [int(found[1]) for found in map(_NUMBERED.match, names) if found]
    return max(numbers, default=0) + 1


def revision_id(number: int, words: str, ending: str = "") -> str:
    """Return `0003_add_due_date`: ASCII, lower case, at most 32 characters, cut at a word; never a bare number."""
    prefix = f"{number:04d}_"
    ending = f"_{ending}" if ending else ""
    return prefix + (slug(words, ID_LENGTH - len(prefix) - len(ending)) or "change") + ending


def slug(text: str, room: int) -> str:
    """Return the words of `text` as a_b_c in at most `room` characters; empty when nothing in it is ASCII."""
    plain = unicodedata.normalize("NFKD", text.casefold()).encode("ascii", "ignore").decode()
    joined = "_".join(re.findall(r"[a-z0-9]+", plain))
    if len(joined) <= room:
        return joined
    whole_words, _, _ = joined[: room + 1].rpartition("_")
    return whole_words or joined[:room]


def headline(message: str) -> str:
    """Return a message as the first line of a docstring."""
    line = " ".join(message.replace("\\", "/").replace('"""', "'''").split())
    return line[:1].upper() + line[1:]


def body(code: str) -> str:
    """Return what Alembic rendered as the body of a function, without Alembic's own remarks; empty for nothing to do."""
    lines = [line for line in code.splitlines() if not line.lstrip().startswith("# ###")]
    return "" if [line.strip() for line in lines] in ([], ["pass"]) else layout.tidy("\n".join(lines).strip())


def needed(code: str, imports: str) -> str:
    """Return the import lines that `code` makes use of, in the order that linters want."""
    own = [line for prefix, line in _IMPORTS.items() if re.search(rf"\b{re.escape(prefix)}", code)]
    given = [line for line in imports.splitlines() if re.search(rf"\b{line.split()[-1]}\b", code)]
    return "\n".join(sorted({*own, *given}, key=lambda line: (line.startswith("from"), line.lower())))


def _proposals(
    migration_context: MigrationContext,
    script: ScriptDirectory,
    proposed: ops.MigrationScript,
    _tables: dict[str, str],
) -> list[ops.MigrationScript]:
    """Return the files that are to be written; none when nothing has changed."""
    asked = migration_context.opts["revision_context"].command_args
    upgrade = proposed.upgrade_ops
    assert upgrade is not None
    if asked["autogenerate"] and upgrade.is_empty():
        log.info("models.py and the database agree: there is nothing to write a revision for")
        return []
    words = proposed.message or _description(upgrade.ops)
    proposed.message = words or "A change"
    proposed.rev_id = asked["rev_id"] or revision_id(next_number(script), words)
    return [proposed]


def _is_check(migration_context: MigrationContext) -> bool:
    """Tell whether this is `alembic check`: it reads the proposal as it is, and fails when there is none.

    It differs from `revision --autogenerate` in nothing but the function that Alembic runs.
    """
    return str(getattr(migration_context.opts.get("fn"), "__qualname__", "")).startswith("check.")


def _description(operations: Iterable[ops.MigrateOperation]) -> str:
    """Return what the operations do, in words: the first in full."""
    said = [words for operation in operations for words in _said(operation)]
    return f"{said[0]} and more" if len(said) > 1 else "".join(said)


def _said(operation: ops.MigrateOperation) -> list[str]:
    match operation:
        case ops.OpContainer():
            return [words for inner in operation.ops for words in _said(inner)]
        case ops.CreateTableOp(table_name=table):
            return [f"create {table}"]
        case ops.DropTableOp(table_name=table):
            return [f"drop {table}"]
        case ops.AddColumnOp(table_name=table, column=column):
            return [f"add {table} {column.name}"]
        case ops.DropColumnOp(table_name=table, column_name=name):
            return [f"drop {table} {name}"]
        case ops.AlterColumnOp(table_name=table, column_name=name):
            return [f"alter {table} {name}"]
        case ops.CreateIndexOp(index_name=name):
            return [f"add {name}"]
        case ops.AddConstraintOp():
            return [f"add {operation.to_constraint().name}"]
        case ops.DropIndexOp(index_name=name) | ops.DropConstraintOp(constraint_name=name):
            return [f"drop {name}"]
    return [re.sub(r"(?<!^)(?=[A-Z])", " ", type(operation).__name__.removesuffix("Op")).lower()]
