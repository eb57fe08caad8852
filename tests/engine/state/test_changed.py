"""A database at head that is not what its migrations made: it is served only while the models find what they need."""

from __future__ import annotations

import json
import sys
from typing import NamedTuple

import pytest

from railhead.dsn import Dsn
from tests.databases import rows_of
from tests.forked_tree import Workshop

LOOK = (
    sys.executable,
    "-c",
    """
import json
from app import create_app

answer = create_app().test_client().get("/readyz")
print(json.dumps([answer.status_code, answer.json["state"], answer.json["flags"]]))
""",
)
SERVE = (sys.executable, "-c", "from app import create_app; create_app(); print('serving')")
ADD_DUE_ON = 'op.add_column("task", sa.Column("due_on", sa.Date(), nullable=True))'


class Case(NamedTuple):
    """What somebody did to a database at head, and what the models miss then; nothing when they can work with it."""

    sql: str
    missing: str = ""


CASES = {
    "a column is dropped": Case("ALTER TABLE task DROP description", "column task.description is gone"),
    "a column is renamed": Case("ALTER TABLE task RENAME title TO name", "column task.title is gone"),
    "a table is dropped": Case("DROP TABLE task CASCADE", "table task is gone"),
    "a type is another": Case("ALTER TABLE task ALTER due_on TYPE text", "column task.due_on is TEXT now, not DATE"),
    "a column must be given a value": Case("ALTER TABLE task ADD n int NOT NULL", "column task.n is new and must be given a value"),
    "a column is computed": Case(
        "ALTER TABLE task DROP due_on, ADD due_on date GENERATED ALWAYS AS (NULL::date) STORED",
        "column task.due_on can no longer be given a value",
    ),
    "a column is added": Case("ALTER TABLE task ADD note text"),
    "a type is wider": Case("ALTER TABLE task ALTER title TYPE text"),
    "an index is dropped": Case("DROP INDEX ix_task_status"),
    "a comment is made": Case("COMMENT ON COLUMN task.title IS 'column task.title is gone'"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_change_by_hand_is_served_while_the_models_can_work(at_head: Workshop, database: Dsn, case: Case) -> None:
    """`/readyz` answers 503 where they cannot; what is missing is said by `status`, with the command that shows what mends it."""
    rows_of(database, case.sql)
    code, state, flags = json.loads(at_head.run(*LOOK, MIGRATE_ON_START="off").stdout.splitlines()[-1])
    assert (code, state, "drifted" in flags) == (503 if case.missing else 200, "current", True)
    told = at_head.migrate("status").stdout
    lacking = (
        "current  (drifted): the database is at head, but not as its migrations left it: what this code needs is gone"
    )
    assert (told.startswith(lacking), "next       python utils/migrate.py drift" in told) == (bool(case.missing),) * 2
    assert case.missing in told


class Edit(NamedTuple):
    """What an applied revision does besides, since somebody edited it, and the column that the models have besides."""

    upgrade: str
    model: str = ""
    missing: str = ""
    flags: tuple[str, ...] = ("edited",)


EDITS = {
    "a column that the models need": Edit(
        '; op.add_column("task", sa.Column("note", sa.Text()))',
        "    note: Mapped[str | None]",
        "column task.note is gone",
    ),
    "an index": Edit('; op.create_index("ix_task_due_on", "task", ["due_on"])'),
    "a comment": Edit("  # the board needs it", flags=()),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=list(EDITS))
def test_an_edited_revision_is_served_while_the_models_can_work(at_head: Workshop, edit: Edit) -> None:
    """A start, `wait` and `/readyz` refuse what an applied revision would make only now; who edits a comment changes nothing."""
    file, models = at_head.versions / "0002_add_task_due_on.py", at_head.root / "models.py"
    file.write_text(file.read_text().replace(ADD_DUE_ON, f"{ADD_DUE_ON}{edit.upgrade}"))
    models.write_text(models.read_text().replace("    due_on: Mapped", f"{edit.model}\n    due_on: Mapped"))
    code, state, flags = json.loads(at_head.run(*LOOK, MIGRATE_ON_START="off").stdout.splitlines()[-1])
    assert (code, state) == (503 if edit.missing else 200, "current")
    assert [flag for flag in flags if flag != "unsealed"] == [*edit.flags]
    for ended in (at_head.run(*SERVE), at_head.run(*SERVE, MIGRATE_ON_START="check"), at_head.migrate("wait")):
        said = ended.stdout + ended.stderr
        assert ended.returncode == (3 if edit.missing else 0), said
        assert (f"missing    {edit.missing}" in said, "[schema-lacks]" in said) == (bool(edit.missing),) * 2, said


def test_what_is_missing_is_told_whole(at_head: Workshop) -> None:
    """The refusal names what the models miss, why, that nothing was touched, and the command that shows what mends it."""
    file = at_head.versions / "0002_add_task_due_on.py"
    file.write_text(file.read_text().replace(ADD_DUE_ON, f"{ADD_DUE_ON}; op.get_bind()"))
    assert at_head.database
    rows_of(at_head.database, "DROP TABLE task; ALTER TABLE member DROP email")
    told = at_head.migrate("wait").stderr
    assert told == (
        "wait stopped: the database is at head, but not as its migrations left it: what this code needs is gone\n\n"
        "  missing    column member.email is gone\n"
        "             table task is gone\n"
        "  edited     a revision was edited after it had run here, and does not run again: its change needs one of its own\n"
        "  database   unchanged, at 0002_add_task_due_on\n\n"
        "  next       see what was changed, and what mends it:\n"
        "             python utils/migrate.py drift                         [schema-lacks]\n"
    )


def test_models_that_cannot_be_loaded_end_no_status(at_head: Workshop, database: Dsn) -> None:
    """Where a broken models.py leaves it open what is needed, the state and the flags are told all the same."""
    rows_of(database, "ALTER TABLE task DROP description")
    (at_head.root / "models.py").write_text("raise ImportError('no such package')")
    told = at_head.migrate("status")
    assert told.returncode == 0
    assert told.stdout.startswith("current  (drifted): the database is at head")
    assert "Traceback" not in told.stderr
