"""What a refusal tells to write instead is run: it does the same, and blocks nobody."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from textwrap import dedent

import pytest

from railhead.dsn import Dsn
from railhead.hazards import rules
from railhead.hazards.remedy import rewrite
from railhead.hazards.remedy.recording import NotRewritten
from railhead.hazards.remedy.rewrite import Remedy
from railhead.hazards.rules import HAZARDS, Finding
from tests.databases import rows_of
from tests.footprints import EXAMPLES, SCHEMA, footprints_of
from tests.verbs import run as run_verb

BLOCKING = [slug for slug, hazard in HAZARDS.items() if hazard.blocking]

HEAD = '''\
"""Something."""

import sqlalchemy as sa
from alembic import op

revision = "0002_it"
down_revision = "0001_schema"


def upgrade() -> None:
{upgrade}


def downgrade() -> None:
{downgrade}
'''

EVERYWHERE = [Finding(slug, "task") for slug in BLOCKING]


def file(upgrade: str, downgrade: str = "pass") -> str:
    """Return a revision file on top of the examples' schema."""
    indented = ["\n".join(f"    {line}" for line in dedent(code).strip().splitlines()) for code in (upgrade, downgrade)]
    return HEAD.format(upgrade=indented[0], downgrade=indented[1])


def rewritten(upgrade: str, downgrade: str = "pass", found: list[Finding] | None = None) -> Remedy:
    """Return what becomes of a revision in which everything that blocks was found."""
    remedy = rewrite.remedy(file(upgrade, downgrade), "0002_it.py", found or EVERYWHERE, 3)
    assert remedy is not None
    return remedy


def body(remedy: Remedy, part: int = 0) -> list[str]:
    """Return the lines of a part's `upgrade`."""
    upgrade, _, _ = remedy.parts[part].functions.partition("\n\n\n")
    return [line.strip() for line in upgrade.splitlines()[1:]]


def run(server: Dsn, folder: Path, remedy: Remedy) -> list[str]:
    """Replay the parts of a remedy and return what blocks in them, or would spoil a crash or a way back."""
    if not (folder / SCHEMA.name).exists():
        (folder / SCHEMA.name).write_text(SCHEMA.read_text())
    for part in remedy.parts:
        (folder / part.file).write_text(part.source)
    history, found = footprints_of(server, folder, [f"{part.file.removesuffix('.py')}" for part in remedy.parts])
    judged = [finding for one in found for finding in rules.findings(one, history.by_id[one.revision])]
    bad = {*BLOCKING, "not-repeatable", "not-reversible"}
    return [str(finding) for finding in judged if finding.slug in bad]


@pytest.mark.parametrize("slug", [slug for slug in BLOCKING if slug != "rewrites-table"] + ["not-repeatable"])
def test_bad_examples_are_mended(server: Dsn, tmp_path: Path, slug: str) -> None:
    """What each bad example becomes runs up, down and up, survives crashes and blocks nobody."""
    source = (EXAMPLES / slug / "bad.py").read_text().replace("0002_bad", "0002_it")
    remedy = rewrite.remedy(source, "0002_it.py", [Finding(slug, "task")], 3)
    assert remedy is not None
    assert run(server, tmp_path, remedy) == []


@pytest.mark.parametrize(
    ("upgrade", "downgrade"),
    [
        (
            """
            with op.batch_alter_table("task", schema=None) as batch_op:
                batch_op.add_column(sa.Column("reviewer_id", sa.BigInteger(), nullable=True))
                batch_op.create_index(batch_op.f("ix_task_reviewer_id"), ["reviewer_id"], unique=False)
                batch_op.create_foreign_key("fk_reviewer", "member", ["reviewer_id"], ["id"])
                batch_op.create_unique_constraint("uq_title", ["title"])
                batch_op.alter_column("title", existing_type=sa.Text(), nullable=False)
            """,
            """
            with op.batch_alter_table("task", schema=None) as batch_op:
                batch_op.alter_column("title", existing_type=sa.Text(), nullable=True)
                batch_op.drop_constraint("uq_title", type_="unique")
                batch_op.drop_constraint("fk_reviewer", type_="foreignkey")
                batch_op.drop_index(batch_op.f("ix_task_reviewer_id"))
                batch_op.drop_column("reviewer_id")
            """,
        ),
        (
            'op.add_column("task", sa.Column("token", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False))',
            'op.drop_column("task", "token")',
        ),
        (
            """
            op.add_column("task", sa.Column("owner_id", sa.BigInteger(), sa.ForeignKey("member.id", ondelete="CASCADE"), index=True))
            op.add_column("task", sa.Column("slug", sa.Text(), unique=True))
            """,
            """
            op.drop_column("task", "slug")
            op.drop_column("task", "owner_id")
            """,
        ),
        (
            """
            op.create_check_constraint(None, "task", "price >= 0")
            op.create_foreign_key(None, "task", "member", ["assignee_id"], ["id"])
            op.create_unique_constraint(None, "task", ["title", "price"])
            """,
            "pass",
        ),
        (
            """
            rows = "UPDATE task SET price = 0 WHERE price IS NULL"
            op.execute("CREATE INDEX ix_one ON task (title, price)")
            op.execute(sa.text("UPDATE task SET price = 1, note = 'a, b' WHERE title = 'x'"))
            """,
            "op.drop_index('ix_one', table_name='task')",
        ),
    ],
    ids=["batch", "default", "column", "nameless", "raw"],
)
def test_what_people_write_is_mended(server: Dsn, tmp_path: Path, upgrade: str, downgrade: str) -> None:
    """Batch blocks, volatile defaults, constraints in columns or without a name, and raw SQL become what blocks nobody."""
    assert run(server, tmp_path, rewritten(upgrade, downgrade)) == []


@pytest.mark.parametrize(
    ("sql", "backfill"),
    [
        ("UPDATE task SET price = 0 WHERE price IS NULL", '"price = 0", "price IS NULL"'),
        ("UPDATE task SET price = 0", '"price = 0", "price IS DISTINCT FROM 0"'),
        ("update task set price = 0 where price > 9;", '"price = 0", "(price > 9) AND price IS DISTINCT FROM 0"'),
        (
            "UPDATE task SET price = (SELECT 1 FROM member)",
            '"price = (SELECT 1 FROM member)", "price IS DISTINCT FROM (SELECT 1 FROM member)"',
        ),
        (
            "UPDATE task SET price = assignee_id WHERE price IS NULL",
            '"price = assignee_id", "(price IS NULL) AND price IS DISTINCT FROM assignee_id"',
        ),
        (
            "UPDATE task SET note = lower(title) WHERE note IS NULL",
            '"note = lower(title)", "(note IS NULL) AND note IS DISTINCT FROM (lower(title))"',
        ),
        (
            "UPDATE task SET note = gen_random_uuid(), price = random() WHERE note IS NULL",
            '"note = gen_random_uuid(), price = random()", "note IS NULL"',
        ),
        (r"UPDATE task SET note = '12\:30'", """ "note = '12:30'", "note IS DISTINCT FROM '12:30'" """.strip()),
    ],
)
def test_an_update_becomes_a_backfill(sql: str, backfill: str) -> None:
    """The condition of the batches no longer holds for a row that is done."""
    assert body(rewritten(f"op.execute({sql!r})")) == [f'op.backfill("task", {backfill})']


@pytest.mark.parametrize(
    "statement",
    [
        'op.execute("UPDATE task SET price = price * 2")',
        'op.execute("UPDATE task SET price = m.id FROM member m WHERE m.id = assignee_id")',
        'op.execute("DELETE FROM task")',
        'op.execute("UPDATE task SET note = gen_random_uuid()")',
        'op.execute("UPDATE task SET note = now() WHERE price > 1")',
        'op.execute("UPDATE task SET note = CURRENT_TIMESTAMP")',
        'op.execute("UPDATE task SET note = of_our_own(title) WHERE note IS NULL")',
        'op.execute("UPDATE task SET price = DEFAULT")',
        'op.execute("UPDATE task SET price = 0 RETURNING id")',
        'op.execute("UPDATE task SET price = 0 WHERE price IS NULL RETURNING id")',
        'op.execute("UPDATE task SET (price, note) = (1, title)")',
    ],
)
def test_what_cannot_tell_its_done_rows_is_left_to_words(statement: str) -> None:
    """Where nobody can see which rows are done there is no rewriting, and none is made up."""
    assert rewrite.remedy(file(statement), "0002_it.py", EVERYWHERE, 3) is None


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("op.execute(some.function())", "run without a database, its upgrade() ends with NameError: name 'some' is not defined"),
        ('for (name,) in op.get_bind().execute(sa.text("SELECT 1")):\n    op.drop_table(name)', "it reads the database"),
        ('if op.get_bind().scalar(sa.text("SELECT 1")) == 1:\n    op.drop_table("task")', "it reads the database"),
        ("op.get_bind().connection.set_session()", "it asks its connection for `connection`"),
        ('sa.create_engine("postgresql+psycopg2://nowhere").connect()', "it opens a connection of its own"),
        ("import subprocess\nsubprocess.run(['true'])", "it reaches other programs"),
        ("import urllib.request\nurllib.request.urlopen('http://127.0.0.1:9')", "it reaches the network"),
        ("try:\n    open('written', 'w')\nexcept Exception:\n    pass", "it writes files"),
        ("import what_is_not_there", "run without a database, its upgrade() ends with ModuleNotFoundError: No module named 'what_is_not_there'"),
        (
            'for name in ("a", "b"):\n    op.create_table(name)\n    if True:\n        op.create_index_concurrently(name, "task", [name])',
            "its line 11 works inside its transaction and outside of it",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_recorded_says_why(statement: str, why: str) -> None:
    """What a revision does is only known without a database where it asks none; everything else is said, and nothing made up."""
    with pytest.raises(NotRewritten, match=re.escape(why)):
        rewrite.remedy(file(statement), "0002_it.py", EVERYWHERE, 3)


def test_a_downgrade_that_cannot_be_recorded_says_why() -> None:
    """What refuses to go back stays as it is; of any other error nobody knows what would be left of the way back."""
    index = file('op.create_index("ix", "task", ["title"])', 'raise NotImplementedError("no way back")')
    remedy = rewrite.remedy(index, "0002_it.py", EVERYWHERE, 3)
    assert remedy is not None
    assert 'raise NotImplementedError("no way back")' in remedy.text
    with pytest.raises(NotRewritten, match="its downgrade\\(\\) ends with TypeError"):
        rewrite.remedy(index.replace("def downgrade()", "def downgrade(engine)"), "0002_it.py", EVERYWHERE, 3)


def test_a_function_in_a_wrapper_is_recorded() -> None:
    """What stands around `upgrade` is passed through; its own statements are the ones that are written anew."""
    source = file('op.create_index("ix", "task", ["title"])')
    wrapper = "import functools\n\ndef around(work):\n    @functools.wraps(work)\n    def inner():\n        return work()\n    return inner\n\n\n"
    remedy = rewrite.remedy(
        source.replace("def upgrade", f"{wrapper}@around\ndef upgrade"), "0002_it.py", EVERYWHERE, 3
    )
    assert remedy is not None
    assert body(remedy) == ['op.create_index_concurrently("ix", "task", ["title"])']


@pytest.mark.parametrize(
    "update",
    [
        "SET price = assignee_id WHERE price IS NULL",
        "SET note = lower(title) WHERE note IS NULL",
        "SET note = gen_random_uuid() WHERE note IS NULL",
        "SET note = '12:30'",
        "SET price = coalesce(assignee_id, 7), note = '100%' WHERE title > ''",
    ],
)
def test_the_backfill_ends_where_the_update_does(database: Dsn, update: str) -> None:
    """On rows with and without values the batches leave what one UPDATE leaves, and the last of them finds nothing."""
    create = "CREATE TABLE task (id int, title text, note text, price int, assignee_id int)"
    rows = "(1, 'A', NULL, NULL, NULL), (2, NULL, NULL, NULL, 5), (3, 'C', 'c', 3, NULL), (4, 'D', NULL, 4, 6)"
    rows_of(database, f"{create}; INSERT INTO task VALUES {rows}; CREATE TABLE copy AS TABLE task")
    call = "".join(body(rewritten(f"op.execute({f'UPDATE task {update}'!r})")))
    table, assignment, where = ast.literal_eval(call.removeprefix("op.backfill"))
    run_verb(database, lambda op: op.backfill(table, assignment, where))
    rows_of(database, f"UPDATE copy {update}")
    same = "SELECT id, title, note IS NULL, length(note), price FROM {} ORDER BY id"
    assert rows_of(database, same.format("task")) == rows_of(database, same.format("copy"))
    assert rows_of(database, f"SELECT FROM task WHERE {where}") == []


def test_another_type_is_told_in_three_steps_with_its_names() -> None:
    """A change of type has no one-file answer: the three steps name the reader's table, column and type."""
    remedy = rewritten('op.alter_column("task", "price", type_=sa.BigInteger())')
    assert remedy.parts == ()
    for words in ('sa.Column("price_new", sa.BigInteger(), nullable=True)', 'op.backfill("task", "price_new = price"'):
        assert words in remedy.text
    converted = rewritten('op.alter_column("task", "price", type_=sa.Integer(), postgresql_using="length(price)")')
    assert 'op.backfill("task", "price_new = length(price)"' in converted.text


def test_other_tables_stay_as_they_are() -> None:
    """Only what was found is rewritten; remarks and everything else stay to the letter."""
    remedy = rewritten(
        """
        # a remark
        op.create_index( "ix_a", 'member', ["name"] )
        op.create_index("ix_b", "task", ["title"])
        """,
        found=[Finding("index-blocks-writes", "task")],
    )
    assert body(remedy, 0) == ["# a remark", 'op.create_index( "ix_a", \'member\', ["name"] )']
    assert body(remedy, 1) == ['op.create_index_concurrently("ix_b", "task", ["title"])']


def test_what_is_not_mended_is_said() -> None:
    """Beside what is rewritten stands what to write for the rest: nothing that was found is passed over in silence."""
    found = [Finding("index-blocks-writes", "task"), Finding("scans-under-lock", "task")]
    raw = 'op.execute("ALTER TABLE task ADD CONSTRAINT c CHECK (price > 0)")'
    remedy = rewritten(f'op.create_index("ix_b", "task", ["title"])\n{raw}', found=found)
    assert remedy.left == (found[1],)
    assert f"and by hand, for scans-under-lock: task:\n{found[1].instead}" in remedy.text
    plain = rewritten('op.create_index("ix_b", "task", ["title"])', found=found[:1])
    assert (plain.left, "by hand" in plain.text) == ((), False)


def test_the_second_file_names_its_parent_and_its_successor() -> None:
    """A part that was split off builds on the first, and what built on the first builds on it."""
    source = (EXAMPLES / "not-repeatable" / "bad.py").read_text()
    following = {"0003_next.py": 'revision = "0003_next"\ndown_revision = "0002_bad"'}
    remedy = rewrite.remedy(source, "0002_bad.py", [Finding("not-repeatable")], 7, following)
    assert remedy is not None
    assert [part.file for part in remedy.parts] == ["0002_bad.py", "0002_bad_finish.py"]
    assert 'revision = "0002_bad_finish"\ndown_revision = "0002_bad"' in remedy.parts[1].source
    assert 'in migrations/versions/0003_next.py:\ndown_revision = "0002_bad_finish"' in remedy.text
