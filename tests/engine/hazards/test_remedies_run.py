"""What a refusal tells to write instead says where its tables are, loads, and runs, however the file is written."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from railhead.dsn import Dsn
from railhead.hazards import rules
from railhead.hazards.remedy import rewrite
from railhead.hazards.rules import HAZARDS, Finding
from railhead.history.relabel import relabelled
from tests.engine.hazards.test_remedies import BLOCKING, EVERYWHERE, HEAD, body, file, rewritten, run
from tests.footprints import EXAMPLES, SCHEMA, footprints_of

IN_SCHEMA = """
op.execute("CREATE SCHEMA events")
op.create_table("role", sa.Column("id", sa.BigInteger(), primary_key=True), sa.Column("n", sa.Integer()), sa.Column("Note", sa.Text()), schema="events")
op.create_table("kin", sa.Column("id", sa.BigInteger(), primary_key=True), schema="events")
op.create_table("role", sa.Column("id", sa.BigInteger(), primary_key=True), sa.Column("n", sa.Integer()))
"""
"""Two tables of one name, in two schemas."""

BLOCKING_IN_SCHEMA = [
    'op.create_index("ix_n", "role", ["n"], schema="events")',
    'op.create_index(index_name="ix_n", table_name="role", columns=["n"], schema="events")',
    'op.create_unique_constraint("uq_n", "role", ["n"], schema="events")',
    'op.create_foreign_key("fk_n", "role", "kin", ["n"], ["id"], source_schema="events", referent_schema="events")',
    'op.create_check_constraint("ck_n", "role", "n > 0", schema="events")',
    'op.create_check_constraint("ck_n", table_name="role", condition="n > 0", schema="events")',
    'op.alter_column("role", "n", existing_type=sa.Integer(), nullable=False, schema="events")',
    'op.alter_column(table_name="role", column_name="n", nullable=False, schema="events")',
    'op.add_column("role", sa.Column("kin_id", sa.BigInteger(), sa.ForeignKey("events.kin.id"), index=True, unique=True), schema="events")',
    'op.add_column("role", sa.Column("token", sa.Uuid(), server_default=sa.text("gen_random_uuid()"), nullable=False), schema="events")',
    'with op.batch_alter_table("role", schema="events") as batch_op:\n    batch_op.create_index("ix_n", ["n"])\n    batch_op.create_foreign_key("fk_n", "kin", ["n"], ["id"], referent_schema="events")',
    'op.execute("CREATE UNIQUE INDEX ix_N ON events.Role (N, \\"Note\\")")',
    'op.execute("UPDATE events.role SET n = 0, \\"Note\\" = \'a  b\' WHERE n IS NULL")',
]  # fmt: skip


def judged_in_schema(server: Dsn, folder: Path, upgrade: str) -> list[Finding]:
    """Return what is found about a revision on tables of a schema, as PostgreSQL tells it."""
    schema = file(IN_SCHEMA, 'op.execute("DROP SCHEMA events CASCADE; DROP TABLE role")')
    (folder / SCHEMA.name).write_text(schema.replace('"0001_schema"', "None").replace("0002_it", "0001_schema"))
    (folder / "0002_it.py").write_text(file(upgrade))
    _, (footprint,) = footprints_of(server, folder, ["0002_it"])
    return [one for one in rules.findings(footprint) if one.slug in BLOCKING]


@pytest.mark.parametrize("upgrade", BLOCKING_IN_SCHEMA)
def test_what_is_in_a_schema_stays_in_it(server: Dsn, tmp_path: Path, upgrade: str) -> None:
    """Each verb is told the schema of its table: what is advised runs, and nothing blocks any more."""
    found = judged_in_schema(server, tmp_path, upgrade)
    assert {one.table for one in found} <= {"events.role", "events.kin"}
    added = re.search(r'add_column\("role", sa.Column\("(\w+)"', upgrade)
    back = f'op.drop_column("role", "{added[1]}", schema="events")' if added else "pass"
    remedy = rewrite.remedy(file(upgrade, back), "0002_it.py", found, 3)
    assert remedy is not None
    assert remedy.left == ()
    assert run(server, tmp_path, remedy) == []


def test_a_table_of_the_same_name_elsewhere_is_left_alone() -> None:
    """What was found in one schema is no reason to rewrite what happens in another."""
    both = 'op.create_index("ix_a", "role", ["n"], schema="events")\nop.create_index("ix_b", "role", ["n"], schema="other")'
    remedy = rewritten(both, found=[Finding("index-blocks-writes", "events.role")])
    assert 'op.create_index("ix_b", "role", ["n"], schema="other")' in "".join(body(remedy, 0) + body(remedy, 1))
    assert 'op.create_index_concurrently("ix_a", "role", ["n"], schema="events")' in remedy.text


@pytest.mark.parametrize(
    ("table", "name", "schema"),
    [
        ("role", '"role"', None),
        ("events.role", '"role"', "events"),
        ('"My events"."Role"', '"Role"', "My events"),
        ('"a.b"', '"a.b"', None),
    ],
)
@pytest.mark.parametrize("slug", HAZARDS)
def test_advice_in_words_names_the_schema_too(slug: str, table: str, name: str, schema: str | None) -> None:
    """Every call that a hazard advises is Python, and names the table and its schema each in its own place."""
    for line in Finding(slug, table, "column n" if slug == "destroys-data" else "").instead.splitlines():
        found = re.search(r"(?:^|\b)op\.\w+\([^(]+\)$", line)
        if found is None or "{table}" in line or "op.execute" in line:
            continue
        call = ast.parse(found[0], mode="eval").body
        assert isinstance(call, ast.Call)
        assert name in [ast.unparse(one).replace("'", '"') for one in call.args], line
        given = [
            one.value.value
            for one in call.keywords
            if one.arg in {"schema", "source_schema"} and isinstance(one.value, ast.Constant)
        ]
        assert given == ([schema] if schema else [])


def test_another_type_in_a_schema_is_told_with_it(server: Dsn, tmp_path: Path) -> None:
    """The three steps to another type run on the table that they are about."""
    found = judged_in_schema(server, tmp_path, 'op.alter_column("role", "n", type_=sa.BigInteger(), schema="events")')
    assert ("rewrites-table", "events.role") in [(one.slug, one.table) for one in found]
    remedy = rewrite.remedy((tmp_path / "0002_it.py").read_text(), "0002_it.py", found, 3)
    assert remedy is not None
    calls = re.findall(r"^op\..*\)$", remedy.text, re.MULTILINE)
    assert len(calls) == 3
    for number, call in enumerate(calls, 2):
        before = f"{number - 1:04d}_it" if number > 2 else "0001_schema"
        source = relabelled(file(call), {"revision": f"{number:04d}_it", "down_revision": before})
        (tmp_path / f"{number:04d}_it.py").write_text(source)
    _, footprints = footprints_of(server, tmp_path, [f"{number:04d}_it" for number in (2, 3, 4)])
    assert [column for column in footprints[-1].after.definitions if column.startswith("column events.role.n")] == [
        "column events.role.n_new"
    ]
    assert "column role.n" in footprints[-1].after.definitions


@pytest.mark.parametrize(
    "bound",
    [
        "LOCK TABLE task IN SHARE MODE",
        "SET LOCAL lock_timeout = '2s'",
        "SET statement_timeout = 0",
        "SELECT pg_advisory_xact_lock(7)",
        "SELECT id FROM task FOR UPDATE",
        "SELECT set_config('lock_timeout', '2s', true)",
    ],
)
def test_what_works_for_its_transaction_only_stays_with_what_it_is_for(server: Dsn, tmp_path: Path, bound: str) -> None:
    """It stands before the statements that stay in a transaction, and nowhere else; where none is left, it is left out and said."""
    alone = rewritten(
        f'op.execute("{bound}")\nop.create_index("ix_t", "task", ["title"])', 'op.drop_index("ix_t", table_name="task")'
    )
    assert [part.file for part in alone.parts] == ["0002_it.py"]
    assert body(alone) == ['op.create_index_concurrently("ix_t", "task", ["title"])']
    assert (
        f'left out below: what it was for leaves its transaction, by verbs that take the locks they need and give way:\nop.execute("{bound}")'
        in alone.text
    )
    assert run(server, tmp_path, alone) == []
    mixed = rewritten(
        f'op.execute("{bound}")\nop.create_index("ix_t", "task", ["title"])\nop.add_column("task", sa.Column("x", sa.Integer()))\n'
        'op.create_index("ix_x", "task", ["x"])',
        'op.drop_column("task", "x")',
    )
    assert body(mixed, 0) == [f'op.execute("{bound}")', 'op.add_column("task", sa.Column("x", sa.Integer()))']
    assert not any(bound in part.source for part in mixed.parts[1:])
    assert "left out" not in mixed.text


def test_what_works_for_its_session_goes_with_all(server: Dsn, tmp_path: Path) -> None:
    """A search_path is needed in every part; one for the transaction only cannot be moved, and nothing is made up."""
    upgrade = 'op.execute("SET search_path TO events, public")\nop.add_column("role", sa.Column("x", sa.Integer()))\nop.create_index("ix_x", "role", ["x"])\nop.execute("RESET search_path")'
    found = judged_in_schema(server, tmp_path, upgrade)
    remedy = rewrite.remedy(file(upgrade), "0002_it.py", [*found, Finding("index-blocks-writes", "events.role")], 3)
    assert remedy is not None
    assert [part.source.count("SET search_path") for part in remedy.parts] == [1, 1]
    with pytest.raises(ValueError, match="for its transaction only"):
        rewritten(
            upgrade.replace("SET search_path TO", "SET LOCAL search_path TO"),
            found=[Finding("index-blocks-writes", "events.role")],
        )


HEADERS = {
    "one line": 'revision, down_revision = "0002_it", "0001_schema"',
    "annotated": 'revision: str = "0002_it"\ndown_revision: str | None = "0001_schema"\nbranch_labels: str | None = None\ndepends_on: str | None = None',
    "named": 'ID = "0002_it"\nBEFORE = "0001_schema"\nrevision = ID\ndown_revision = BEFORE',
    "unpacked": 'NAMES = ("0002_it", "0001_schema")\nrevision, down_revision = NAMES',
    "single quotes": "revision = '0002_it'; down_revision = '0001_schema'",
    "branched": 'revision = "0002_it"\ndown_revision = ("0001_schema",)\nbranch_labels = ("side",)\ndepends_on = None',
    "computed": 'from pathlib import Path\nrevision = Path(__file__).stem\ndown_revision = "0001_schema"',
    "below": "down_revision = '0001_schema'\nfor revision in ('0002_it',):\n    pass",
}  # fmt: skip


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS)
def test_what_is_split_off_loads_however_the_file_says_its_name(server: Dsn, tmp_path: Path, header: str) -> None:
    """Both files are revisions of their own, one on top of the other, in Alembic's eyes."""
    source = (EXAMPLES / "not-repeatable" / "bad.py").read_text()
    source = re.sub(r"^revision = .*\ndown_revision = .*$", lambda _: header, source, flags=re.MULTILINE)
    remedy = rewrite.remedy(source, "0002_it.py", [Finding("not-repeatable")], 3)
    assert remedy is not None
    assert [part.file for part in remedy.parts] == ["0002_it.py", "0003_it_finish.py"]
    assert run(server, tmp_path, remedy) == []


@pytest.mark.parametrize(
    ("revision", "name", "following", "taken", "then"),
    [
        ("0002_it", "0002_it.py", {}, (), ("0009_it_finish", "0009_it_finish.py")),
        ("0002_it", "0002_it.py", {"0003_x.py": 'down_revision = "0002_it"'}, (), ("0002_it_finish", "0002_it_finish.py")),
        ("0002_it", "0002_it.py", {"0003_x.py": 'down_revision = "0002_it"'}, {"0002_it_finish"}, ("0002_it_finish2", "0002_it_finish2.py")),
        ("a1b2c3d4e5f6", "a1b2c3d4e5f6_add_it.py", {}, (), ("a1b2c3d4e5f6_finish", "a1b2c3d4e5f6_add_it_finish.py")),
        ("f" * 32, f"{'f' * 32}.py", {}, (), (f"{'f' * 25}_finish", f"{'f' * 25}_finish.py")),
    ],
)  # fmt: skip
def test_the_second_file_is_called_after_its_place(
    revision: str, name: str, following: dict[str, str], taken: set[str], then: tuple[str, str]
) -> None:
    """At the end of the history it has the next number; between two revisions, and where there are no numbers, the first one's name."""
    source = (EXAMPLES / "not-repeatable" / "bad.py").read_text().replace("0002_bad", revision)
    remedy = rewrite.remedy(source, name, [Finding("not-repeatable")], 9, following, taken)
    assert remedy is not None
    assert [part.file for part in remedy.parts] == [name, then[1]]
    assert f'revision = "{then[0]}"\ndown_revision = "{revision}"' in remedy.parts[1].source
    assert remedy.successors == tuple((file, f'down_revision = "{then[0]}"') for file in following)


def test_all_that_builds_on_it_is_told_its_new_parent() -> None:
    """Every successor, a merge with its other parent, and each in the words that it has now."""
    source = (EXAMPLES / "not-repeatable" / "bad.py").read_text()
    following = {
        "0003_side.py": "revision, down_revision = '0003_side', '0002_bad'",
        "0004_merge.py": 'revision = "0004_merge"\ndown_revision = ("0002_bad", "0003_side")',
        "0005_named.py": 'BEFORE = "0002_bad"\nrevision: str = "0005_named"\ndown_revision: str = BEFORE  # the one before',
    }
    remedy = rewrite.remedy(source, "0002_bad.py", [Finding("not-repeatable")], 9, following)
    assert remedy is not None
    assert remedy.successors == (
        ("0003_side.py", "revision, down_revision = '0003_side', '0002_bad_finish'"),
        ("0004_merge.py", 'down_revision = ("0002_bad_finish", "0003_side")'),
        ("0005_named.py", 'down_revision: str = "0002_bad_finish"'),
    )


@pytest.mark.parametrize(
    "upgrade",
    [
        'op.execute("""\nALTER TABLE task ADD x int\n""")\nop.create_index("ix_x", "task", ["x"])',
        'op.add_column("task", sa.Column("x", sa.Integer())); op.create_index("ix_x", "task", ["x"])',
        'table, column = "task", "x"\nop.add_column(table, sa.Column(column, sa.Integer()))\nop.create_index("ix_x", table, [column])',
        'from sqlalchemy import Integer\nkind = Integer\nop.add_column("task", sa.Column("x", kind()))\nop.create_index("ix_x", "task", ["x"])',
        'def add(name):\n    op.add_column("task", sa.Column(name, sa.Integer()))\nadd("x")\nop.create_index("ix_x", "task", ["x"])',
        'op.add_column("task", sa.Column("x", sa.Integer()))\nop.execute("UPDATE Task SET X = 1 WHERE x IS NULL")\nop.execute("CREATE INDEX IX_X ON TASK (X)")',
    ],
    ids=["text at the margin", "one line", "names", "import", "function", "capitals"],
)  # fmt: skip
def test_however_it_is_laid_out_the_parts_run(server: Dsn, tmp_path: Path, upgrade: str) -> None:
    """Texts of several lines, statements on one line, names that are used in both parts, names that SQL folds."""
    remedy = rewritten(upgrade, 'op.drop_column("task", "x")')
    assert len(remedy.parts) == 2
    assert run(server, tmp_path, remedy) == []


def test_a_function_on_one_line_is_read(server: Dsn, tmp_path: Path) -> None:
    """What stands behind the colon is what it does."""
    source = (
        HEAD.partition("def upgrade")[0]
        + 'def upgrade(): op.create_index("ix_t", "task", ["title"])\n\n\ndef downgrade(): op.drop_index("ix_t")\n'
    )
    remedy = rewrite.remedy(source, "0002_it.py", EVERYWHERE, 3)
    assert remedy is not None
    assert body(remedy) == ['op.create_index_concurrently("ix_t", "task", ["title"])']
    assert run(server, tmp_path, remedy) == []
