"""A history that is older than its manifest: it runs everywhere as it always did, and only what is new is judged."""

from __future__ import annotations

from pathlib import Path

import pytest

from railhead.dsn import Dsn
from railhead.hazards import repeatability, rules
from railhead.hazards.remedy import rewrite
from railhead.history import manifest
from tests.databases import rows_of, version_of
from tests.forked_tree import Workshop

OLD = {
    "1f0a": (
        'op.create_table("person", sa.Column("id", sa.Integer), sa.Column("name", sa.Text))',
        'op.drop_table("person")',
    ),
    "2b1c": (
        (
            'op.add_column("person", sa.Column("born", sa.Date))\n'
            "with op.get_context().autocommit_block():\n"
            '    op.create_index("person_born", "person", ["born"], postgresql_concurrently=True)'
        ),
        'op.drop_index("person_born")\nop.drop_column("person", "born")',
    ),
    "3d2e": (
        (
            "with op.get_context().autocommit_block():\n"
            '    op.create_index("person_name", "person", ["name"], postgresql_concurrently=True)'
        ),
        'op.drop_index("person_name")',
    ),
    "4f3a": ('op.create_index("person_id", "person", ["id"])', 'op.drop_index("person_id")'),
}
"""As other tools number them: a table, mixed work, a concurrent index alone, an index that blocks writes."""

NEW = ('op.create_index("person_both", "person", ["id", "name"])', 'op.drop_index("person_both")')


@pytest.fixture
def old(bare: Workshop) -> Workshop:
    """A project with the four revisions, and no manifest yet."""
    for name, (upgrade, downgrade) in OLD.items():
        bare.write(f"{name}_change", upgrade, downgrade, revision=name)
    return bare


def at_first(tree: Workshop, database: Dsn) -> None:
    """Bring the database to the first revision, and fill its table."""
    assert tree.migrate("upgrade", "1f0a").returncode == 0
    rows_of(database, "INSERT INTO person SELECT n, 'name' FROM generate_series(1, 50) n; ANALYZE person")


def test_first_seal_adopts_a_history_from_elsewhere(old: Workshop) -> None:
    """It draws the line at the head, judges nothing, says so with the commands that change that, and `--check` is content."""
    ended = old.migrate("seal")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "seal: 4 revisions in migrations/manifest.txt",
        "4 of them, up to 4f3a, are older than the first seal: they were not judged, and run with a warning",
        "  next       judge them too:  python utils/migrate.py seal --all",
        "             draw the line elsewhere:  python utils/migrate.py seal --adopted-up-to REV",
    ]
    assert old.migrate("seal", "--check").stdout == "the manifest is true\n"
    assert old.migrate("seal").stdout == "seal: 4 revisions in migrations/manifest.txt, as before\n"


@pytest.mark.parametrize("arguments", [(), ("--all",), ("--no-replay",)])
def test_database_in_the_middle_goes_on_with_one_warning(
    old: Workshop, database: Dsn, arguments: tuple[str, ...]
) -> None:
    """What is applied everywhere else is applied here too, large tables or not, and one line says what was not judged."""
    at_first(old, database)
    assert old.migrate("seal", *arguments).returncode == 0
    ended = old.migrate(MIGRATE_LARGE_TABLE="10")
    assert (ended.returncode, version_of(database)) == (0, "4f3a"), ended.stderr
    warned = [line for line in ended.stderr.splitlines() if "not judged" in line]
    assert len(warned) == 1
    assert "3 revisions are older than the first seal, up to 4f3a, so not judged, not-repeatable" in warned[0]
    assert ("index-blocks-writes" in warned[0]) is (arguments == ("--all",))
    assert "unsealed" not in ended.stderr


def test_ignored_hazards_take_the_warning_too(old: Workshop, database: Dsn) -> None:
    """MIGRATE_HAZARDS=ignore lets the old revisions run without a word."""
    at_first(old, database)
    assert old.migrate("seal").returncode == 0
    ended = old.migrate(MIGRATE_HAZARDS="ignore")
    assert (ended.returncode, "judged" in ended.stderr) == (0, False)


def test_what_is_new_is_judged_as_ever(old: Workshop, database: Dsn) -> None:
    """A revision on top of the line is replayed, told, and refused on a large table."""
    assert old.migrate().returncode == 0
    assert old.migrate("seal").returncode == 0
    old.write("5a4b_new", *NEW, revision="5a4b")
    rows_of(database, "INSERT INTO person SELECT n, 'name' FROM generate_series(1, 50) n; ANALYZE person")
    told = old.migrate("seal").stdout
    assert "seal: 5 revisions in migrations/manifest.txt, 1 replayed\n" in told
    assert "index-blocks-writes: person" in told
    ended = old.migrate(MIGRATE_LARGE_TABLE="10")
    assert (ended.returncode, version_of(database)) == (3, "4f3a")
    assert "5a4b would block a large table" in ended.stderr


def test_the_line_is_drawn_by_hand(old: Workshop, database: Dsn) -> None:
    """`--adopted-up-to` says where it is: what lies above is judged; `base` takes it away."""
    at_first(old, database)
    ended = old.migrate("seal", "--adopted-up-to", "2b1c")
    assert (ended.returncode, "2 replayed" in ended.stdout) == (0, True)
    refused = old.migrate()
    assert (refused.returncode, version_of(database)) == (3, "1f0a")
    assert "3d2e leaves its transaction with work that cannot be run again from the top" in refused.stderr
    assert "mixes" not in refused.stderr
    assert "2 replayed" in old.migrate("seal", "--adopted-up-to", "base").stdout
    assert "adopted up to" not in (old.root / "migrations" / "manifest.txt").read_text()
    refused = old.migrate()
    assert "2 revisions leave their transaction with work that cannot be run again from the top" in refused.stderr
    assert all(f"migrations/versions/{name}_change.py" in refused.stderr for name in ("2b1c", "3d2e"))


def test_a_history_of_our_own_kind_is_not_adopted(bare: Workshop) -> None:
    """Where each id is its file's name the first seal judges everything, also when the manifest was lost."""
    bare.write("0001_first", *OLD["1f0a"])
    bare.write("0002_index", 'op.create_index("i", "person", ["id"])', 'op.drop_index("i")')
    ended = bare.migrate("seal")
    assert "2 replayed" in ended.stdout
    assert "index-blocks-writes: person" in ended.stdout


def test_the_line_survives_a_conflict(old: Workshop) -> None:
    """A manifest in conflict is sealed again with the line that it had."""
    place = old.root / "migrations" / "manifest.txt"
    old.migrate("seal")
    text = place.read_text()
    place.write_text(f"<<<<<<< HEAD\n{text}=======\n{text}>>>>>>> branch\n")
    assert old.migrate("seal").returncode == 0
    assert manifest.Origin.parse(place.read_text()).adopted == "4f3a"


def test_a_name_with_blanks_is_kept() -> None:
    """The line may name whatever Alembic allows as an id."""
    origin = manifest.Origin("a b%", "c\td", "digest")
    assert manifest.Origin.parse("\n".join(["# x", *origin.remarks(), "line"])) == origin


BLOCK = "with op.get_context().autocommit_block():\n    "


@pytest.mark.parametrize(
    ("upgrade", "mixed"),
    [
        (BLOCK + 'op.create_index("i", "t", ["a"], postgresql_concurrently=True)', False),
        (BLOCK + 'op.drop_index("i", postgresql_concurrently=True)', False),
        (BLOCK + "op.execute(\"ALTER TYPE mood ADD VALUE IF NOT EXISTS 'glad'\")", False),
        ('op.execute("COMMIT")\n' + BLOCK + 'op.create_index("i", "t", ["a"], postgresql_concurrently=True)', False),
        (
            'op.execute(sa.text("SET statement_timeout = 0"))\n'
            + BLOCK
            + 'op.execute("CREATE INDEX CONCURRENTLY i ON t (a)")',
            False,
        ),
        ('op.execute("SET lock_timeout = 0; RESET role")\nop.create_index_concurrently("i", "t", ["a"])', False),
        ('op.execute("SET x.y = 1; DELETE FROM t")\n' + BLOCK + 'op.execute("VACUUM t")', True),
        ('op.execute(f"SET {1}")\n' + BLOCK + 'op.execute("VACUUM t")', True),
        ('op.drop_column("t", "b")\n' + BLOCK + 'op.drop_index("i", postgresql_concurrently=True)', True),
    ],
)
def test_what_only_prepares_does_not_mix(tmp_path: Path, upgrade: str, mixed: bool) -> None:
    """A file that works outside its transaction only is not said to mix, whatever it sets or ends before."""
    file = tmp_path / "one.py"
    body = "\n".join(f"    {line}" for line in upgrade.splitlines())
    file.write_text(f"def upgrade():\n{body}\n")
    assert repeatability.mixes(file, "upgrade") is mixed


INDEX = 'op.create_index_concurrently("ix_t", "task", ["title"])'


@pytest.mark.parametrize(
    ("upgrade", "mixed"),
    [
        (f"{INDEX}\nop.get_bind().execute(sa.text(\"UPDATE task SET title = ''\"))", True),
        (f"bind = op.get_bind()\nbind.exec_driver_sql(\"UPDATE task SET title = ''\")\n{INDEX}", True),
        (f"bind = op.get_bind()\nbind.exec_driver_sql('SET lock_timeout = 0')\n{INDEX}", False),
        (f"def add():\n    op.add_column('task', sa.Column('x', sa.Text()))\nadd()\n{INDEX}", True),
        (f"{INDEX}\nop.drop_index_concurrently('ix_t')", False),
        (f"op.add_column('task', sa.Column('x', sa.Text()))\n{INDEX}", True),
        ("op.add_column('task', sa.Column('x', sa.Text()))\nop.get_bind().execute(sa.text('SELECT 1'))", False),
    ],
)
def test_start_and_remedy_agree_on_what_leaves_its_transaction(tmp_path: Path, upgrade: str, mixed: bool) -> None:
    """What the start says works on both sides is what the remedy splits, and nothing else is."""
    file = tmp_path / "0002_it.py"
    body = "\n".join(f"    {line}" for line in upgrade.splitlines())
    head = "import sqlalchemy as sa\nfrom alembic import op\nrevision = '0002_it'\ndown_revision = None\n"
    file.write_text(f"{head}\n\ndef upgrade():\n{body}\n\n\ndef downgrade():\n    pass\n")
    remedy = rewrite.remedy(file.read_text(), file.name, [rules.Finding("not-repeatable")], 3)
    assert repeatability.mixes(file, "upgrade") is mixed
    assert (remedy is not None and len(remedy.parts) == 2) is mixed
