"""Which files does one `alembic revision` write, and how are they called?"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

from alembic.operations import ops
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from railhead.autogenerate import layout
from railhead.autogenerate.statements import Statement
from railhead.history.naming import revision_id, slug
from railhead.logs import log

if TYPE_CHECKING:
    from railhead.autogenerate.files import RevisionPart


_NUMBERED = re.compile(r"(\d{4,})_[a-z0-9]")
_VERBS = {"removed": "add", "added": "drop"}
_IMPORTS = {"op.": "from alembic import op", "sa.": "import sqlalchemy as sa"}


def next_number(script: ScriptDirectory) -> int:
    """Return one more than the highest number in use, whichever branch it is on."""
    ids = [revision.revision for revision in script.walk_revisions()]
    numbers = [int(found[1]) for found in map(_NUMBERED.match, ids) if found]
    return max(numbers, default=0) + 1


def headline(message: str) -> str:
    """Return a message as the first line of a docstring."""
    line = " ".join(message.replace("\\", "/").replace('"""', "'''").split())
    return line[:1].upper() + line[1:]


def body(code: str) -> str:
    """Return what Alembic rendered as the body of a function, without Alembic's own remarks; empty for nothing to do."""
    lines = [line for line in code.splitlines() if not line.lstrip().startswith("# ###")]
    if [line.strip() for line in lines] in ([], ["pass"]):
        return ""
    text = layout.tidy("\n".join(lines).strip())
    return text if any(not line.lstrip().startswith("#") for line in text.splitlines()) else f"{text}\n    pass"


def needed(code: str, imports: str) -> str:
    """Return the import lines that `code` makes use of, in the order that linters want."""
    own = [line for prefix, line in _IMPORTS.items() if re.search(rf"\b{re.escape(prefix)}", code)]
    given = [line for line in imports.splitlines() if re.search(rf"\b{line.split()[-1]}\b", code)]
    return "\n".join(sorted({*own, *given}, key=lambda line: (line.startswith("from"), line.lower())))


def proposals(
    migration_context: MigrationContext,
    script: ScriptDirectory,
    proposed: ops.MigrationScript,
    tables: dict[str, str],
    given: str | None = None,
) -> list[ops.MigrationScript]:
    """Return the files that are to be written, the first with the id that is `given`; none when nothing has changed."""
    from railhead.autogenerate import safe_plan
    from railhead.autogenerate.files import parts as files_of

    asked = migration_context.opts["revision_context"].command_args
    upgrade = proposed.upgrade_ops
    assert upgrade is not None
    if asked["autogenerate"] and upgrade.is_empty():
        log.info(
            "models.py and the database differ in nothing that is compared: there is nothing to write a revision for"
        )
        return []
    words = proposed.message or _description(upgrade.ops)
    proposed.message = words or "A change"
    parts = files_of(safe_plan.changes(migration_context, upgrade)) if upgrade.ops else []
    if not parts:
        proposed.rev_id = given or revision_id(next_number(script), words)
        return [proposed]
    ids = _ids(given, next_number(script), words, [part.ending for part in parts])
    tables.update({revision: part.tables for revision, part in zip(ids, parts, strict=True)})
    return _files(proposed, ids, parts)


def _ids(given: str | None, number: int, words: str, endings: list[str]) -> list[str]:
    """Return an id for each file; the first is what `--rev-id` gave."""
    numbered = _NUMBERED.match(given or "")
    first = int(numbered[1]) if numbered else number - 1 if given else number
    ids = [revision_id(first + index, words, slug(ending, 12)) for index, ending in enumerate(endings)]
    return [given, *ids[1:]] if given else ids


def _files(proposed: ops.MigrationScript, ids: list[str], parts: list[RevisionPart]) -> list[ops.MigrationScript]:
    """Return one script for each part, each on top of the one before."""
    files = []
    for number, (revision, part) in enumerate(zip(ids, parts, strict=True)):
        file = copy.copy(proposed)
        file.rev_id = revision
        file.imports = set()
        file.upgrade_ops = ops.UpgradeOps([step for change in part.changes for step in change.forth])
        file.downgrade_ops = ops.DowngradeOps([step for change in reversed(part.changes) for step in change.back])
        if len(parts) > 1:
            file.message = f"{proposed.message} ({number + 1} of {len(parts)})"
        if number:
            file.head, file.splice, file.branch_label, file.depends_on = ids[number - 1], False, None, None
        files.append(file)
    return files


def is_check(migration_context: MigrationContext) -> bool:
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
            return [f"add {getattr(operation, 'constraint_name', None)}"]
        case Statement(thing=thing, kind=kind):
            return [f"{_VERBS.get(kind, 'change')} {thing}"]
        case ops.DropIndexOp(index_name=name) | ops.DropConstraintOp(constraint_name=name):
            return [f"drop {name}"]
    return [re.sub(r"(?<!^)(?=[A-Z])", " ", type(operation).__name__.removesuffix("Op")).lower()]
