"""What would block a large table is refused before anything is touched; on a small one, or accepted, it runs."""

from __future__ import annotations

import json
import re
import sys
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from railhead.dsn import Dsn
from railhead.hazards import gate, table_sizes
from railhead.hazards.rules import Finding
from railhead.history.graph import Revision
from railhead.schema import catalog
from railhead.settings import Settings
from tests.databases import rows_of, version_of
from tests.forked_tree import Workshop
from tests.large_table import fill

HEAD = "0002_add_task_due_on"
INDEX = 'op.create_index("ix_task_title", "task", ["title"])'
NO_INDEX = 'op.drop_index("ix_task_title", table_name="task")'

REFUSED = """\
upgrade stopped: 0003_search would block a large table

  hazard     index-blocks-writes: task, about 1,200 rows
             Building an index blocks every write to task until it is finished.
  file       migrations/versions/0003_search.py
  large      from 1,000 rows on (MIGRATE_LARGE_TABLE)
  database   unchanged, at 0002_add_task_due_on

  next       write it so:

             in migrations/versions/0003_search.py:
             def upgrade() -> None:
                 op.create_index_concurrently("ix_task_title", "task", ["title"])


             def downgrade() -> None:
                 op.drop_index_concurrently("ix_task_title", table_name="task")

             or accept it there, with the reason:
             accepted_hazards = {"index-blocks-writes": "why"}

             then:
             python utils/migrate.py seal                          [hazard]
"""


@pytest.fixture
def busy(workshop: Workshop, database: Dsn) -> Workshop:
    """A database at head with 1,234 tasks, which the commands are told is large."""
    assert workshop.migrate().returncode == 0
    fill(database)
    return workshop


def sealed(tree: Workshop, **file: str) -> None:
    """Write a revision that builds an index, and seal it."""
    tree.write("0003_search", INDEX, NO_INDEX, after=HEAD, **file)
    ended = tree.migrate("seal")
    assert ended.returncode == 0, ended.stderr


def test_large_table_is_refused(busy: Workshop, database: Dsn) -> None:
    """The refusal names the hazard, the table with its rows and the file, and holds the revision rewritten."""
    sealed(busy)
    ended = busy.migrate(MIGRATE_LARGE_TABLE="1000")
    assert (ended.returncode, ended.stderr) == (3, REFUSED)
    assert version_of(database) == HEAD
    assert rows_of(database, "SELECT count(*) FROM migration_ledger WHERE revision = '0003_search'") == [(0,)]


@pytest.mark.parametrize("seals", [True, False], ids=["sealed again", "not sealed again"])
def test_pasted_it_runs(busy: Workshop, database: Dsn, seals: bool) -> None:
    """What the refusal says to write is taken as it is and runs; what was sealed of the file before is not believed."""
    sealed(busy)
    paste(busy, busy.migrate(MIGRATE_LARGE_TABLE="1000").stderr)
    assert not seals or busy.migrate("seal").returncode == 0
    ended = busy.migrate(MIGRATE_LARGE_TABLE="1000")
    assert ended.returncode == 0, ended.stderr
    assert ("unsealed" in ended.stderr) != seals
    assert version_of(database) == "0003_search"


def test_two_files_pasted_run(busy: Workshop, database: Dsn) -> None:
    """A refusal changes nothing; what it says to write in two files is pasted, sealed as it says, and runs."""
    column = 'op.add_column("task", sa.Column("x", sa.Integer()))'
    busy.write("0003_search", f"{column}\n{INDEX}", f'{NO_INDEX}\nop.drop_column("task", "x")', after=HEAD)
    assert busy.migrate("seal").returncode == 0
    before = fingerprint(database)
    refused = busy.migrate(MIGRATE_LARGE_TABLE="1000")
    assert (refused.returncode, fingerprint(database)) == (3, before)
    paste(busy, refused.stderr)
    assert busy.migrate(*refused.stderr.split("then:")[1].split()[2:-1]).returncode == 0
    ended = busy.migrate(MIGRATE_LARGE_TABLE="1000")
    assert ended.returncode == 0, ended.stderr
    assert version_of(database) == "0004_search_finish"
    assert busy.migrate("downgrade", HEAD, "--yes").returncode == 0
    assert fingerprint(database) == before


def fingerprint(database: Dsn) -> str:
    """Return what the schema is."""
    with closing(psycopg2.connect(database)) as connection:
        return catalog.read(connection).fingerprint


def paste(tree: Workshop, refusal: str) -> None:
    """Write into the files what a refusal says to write in them."""
    advice = "\n".join(line[13:] for line in refusal.partition("write it so:")[2].splitlines())
    advice = advice.partition("\n\nor accept it there")[0]
    for whole, file, text in re.findall(
        r"^(in|new,) migrations/versions/(.+):\n((?:.|\n)+?)(?=\n\n(?:in|new,) |\Z)", advice, re.MULTILINE
    ):
        head = "" if whole == "new," else (tree.versions / file).read_text().partition("def upgrade")[0]
        (tree.versions / file).write_text(f"{head}{text}\n")


def test_not_repeatable_is_not_believed_of_a_file_that_was_edited(busy: Workshop, database: Dsn) -> None:
    """What could not run again when it was sealed is refused, and runs once it is written so that it can."""
    plain = 'with op.get_context().autocommit_block():\n    op.execute("CREATE INDEX CONCURRENTLY ix ON task (title)")'
    busy.write("0003_ix", plain, "op.drop_index_concurrently('ix')", after=HEAD)
    assert busy.migrate("seal").returncode == 0
    assert "[not-repeatable]" in busy.migrate().stderr
    busy.write(
        "0003_ix",
        'op.create_index_concurrently("ix", "task", ["title"])',
        "op.drop_index_concurrently('ix')",
        after=HEAD,
    )
    ended = busy.migrate()
    assert ended.returncode == 0, ended.stderr
    assert version_of(database) == "0003_ix"


def test_small_table_is_not(busy: Workshop, database: Dsn) -> None:
    """On a table that is not large the same revision runs."""
    sealed(busy)
    assert busy.migrate().returncode == 0
    assert version_of(database) == "0003_search"


def test_start_is_refused_too(busy: Workshop, database: Dsn) -> None:
    """The start-up hook and `alembic upgrade` refuse as the command does."""
    sealed(busy)
    start = (
        "from railhead.settings import load; from utils.migrate import migrate_on_startup; migrate_on_startup(load())"
    )
    by_hook = busy.run(*python(start), MIGRATE_LARGE_TABLE="1000")
    by_hand = busy.alembic("upgrade", "head", MIGRATE_LARGE_TABLE="1000")
    assert (by_hook.returncode, by_hand.returncode) == (3, 3)
    assert "[hazard]" in by_hook.stderr
    assert "[hazard]" in by_hand.stderr
    assert version_of(database) == HEAD


def python(code: str) -> tuple[str, ...]:
    """Return the command that runs this code."""
    return sys.executable, "-c", code


def test_accepted_it_runs(busy: Workshop, database: Dsn) -> None:
    """With its reason in the file the hazard is accepted."""
    sealed(busy, extra='accepted_hazards = {"index-blocks-writes": "at night, nobody writes"}\n')
    assert busy.migrate(MIGRATE_LARGE_TABLE="1000").returncode == 0
    assert version_of(database) == "0003_search"


def test_accepted_without_a_reason_it_does_not(busy: Workshop) -> None:
    """A blank is no reason, and another table's acceptance is none for this one."""
    sealed(busy, extra='accepted_hazards = {"index-blocks-writes:member": "small", "index-blocks-writes": " "}\n')
    assert busy.migrate(MIGRATE_LARGE_TABLE="1000").returncode == 3


@pytest.mark.parametrize(("word", "warned"), [("warn", True), ("ignore", False)])
def test_migrate_hazards_decides(busy: Workshop, database: Dsn, word: str, warned: bool) -> None:
    """`warn` runs it and says so, `ignore` runs it."""
    sealed(busy)
    ended = busy.migrate(MIGRATE_LARGE_TABLE="1000", MIGRATE_HAZARDS=word)
    assert ended.returncode == 0
    assert ("index-blocks-writes: task, about 1,200 rows" in ended.stderr) == warned
    assert version_of(database) == "0003_search"


def test_empty_database_has_nothing_large(workshop: Workshop, database: Dsn) -> None:
    """From nothing to head nothing is refused, whatever counts as large."""
    sealed(workshop)
    assert workshop.migrate(MIGRATE_LARGE_TABLE="0").returncode == 0
    assert version_of(database) == "0003_search"


def test_table_renamed_by_a_pending_revision_is_weighed(busy: Workshop, database: Dsn) -> None:
    """A pending revision may give a table another name: the one after it is weighed with the rows of the old one."""
    busy.write("0003_rename", 'op.rename_table("task", "job")', 'op.rename_table("job", "task")', after=HEAD)
    busy.write(
        "0004_search", 'op.create_index("ix_job", "job", ["title"])', 'op.drop_index("ix_job", table_name="job")'
    )
    assert busy.migrate("seal").returncode == 0
    ended = busy.migrate(MIGRATE_LARGE_TABLE="1000")
    assert (ended.returncode, "index-blocks-writes: job, about 1,200 rows" in ended.stderr) == (3, True)
    assert version_of(database) == HEAD


def test_unsealed_revision_is_applied_with_a_warning(busy: Workshop, database: Dsn) -> None:
    """What nobody has looked at runs; in development the warning names the command that seals."""
    busy.write("0003_search", INDEX, NO_INDEX, after=HEAD)
    ended = busy.migrate(MIGRATE_LARGE_TABLE="1000")
    assert ended.returncode == 0
    assert "unsealed, so nobody knows what it would block: 0003_search" in ended.stderr
    assert "python utils/migrate.py seal" in ended.stderr
    assert version_of(database) == "0003_search"


def test_revision_edited_since_it_was_sealed_counts_as_unsealed(busy: Workshop) -> None:
    """What was sealed of another file is not believed."""
    sealed(busy)
    path = busy.versions / "0003_search.py"
    path.write_text(path.read_text().replace('["title"]', '["title", "id"]'))
    assert "unsealed" in busy.migrate().stderr


def test_status_shows_hazards(busy: Workshop) -> None:
    """`status` lists what each pending revision would do, as text and as JSON."""
    sealed(busy)
    assert "index-blocks-writes of task" in busy.migrate("status").stdout
    [pending] = json.loads(busy.migrate("status", "--json").stdout)["pending"]
    assert (pending["hazards"], pending["breaking"]) == (["index-blocks-writes:task"], False)


def test_ledger_knows_what_breaks(workshop: Workshop, database: Dsn) -> None:
    """What the manifest says of the previous release is written down, and what the file says goes before it."""
    workshop.write("0003_drop", 'op.drop_column("task", "due_on")', after=HEAD)
    workshop.write("0004_more", 'op.drop_column("task", "description")', extra="breaking = False\n")
    assert workshop.migrate("seal").returncode == 0
    assert workshop.migrate().returncode == 0
    found = rows_of(database, "SELECT revision, breaking FROM migration_ledger WHERE outcome = 'applied'")
    assert dict(found) == {"0001_baseline": False, HEAD: False, "0003_drop": True, "0004_more": False}


def test_not_repeatable_is_refused_with_the_split(busy: Workshop) -> None:
    """A revision that mixes both kinds of work is refused on any size of table, with the two files that it becomes."""
    busy.write(
        "0003_both",
        'op.add_column("task", sa.Column("x", sa.Integer()))\nop.create_index_concurrently("ix_x", "task", ["x"])',
        'op.drop_column("task", "x")',
        after=HEAD,
    )
    ended = busy.migrate()
    assert ended.returncode == 3
    assert "new, migrations/versions/0004_both_finish.py:" in ended.stderr
    assert ended.stderr.split()[-4:] == ["python", "utils/migrate.py", "seal", "[not-repeatable]"]


@pytest.mark.parametrize(
    ("prepare", "least", "most"),
    [
        ("ANALYZE big", 9_000, 11_000),
        ("SELECT", 5_000, 20_000),
        ("ANALYZE big; INSERT INTO big SELECT generate_series(1, 10000)", 18_000, 22_000),
        ("VACUUM big; DELETE FROM big; TRUNCATE big", 0, 0),
    ],
    ids=["analysed", "never analysed", "grown since", "emptied"],
)
def test_sizes_are_those_of_now(database: Dsn, prepare: str, least: int, most: int) -> None:
    """Rows are estimated from the pages of now: for a table that nobody analysed, and one that grew since, too."""
    rows_of(database, "CREATE TABLE big (n int); ALTER TABLE big SET (autovacuum_enabled = false)")
    rows_of(database, "INSERT INTO big SELECT generate_series(1, 10000)")
    for statement in prepare.split("; "):
        rows_of(database, statement)
    with closing(psycopg2.connect(database)) as connection:
        connection.autocommit = True
        found = table_sizes.sizes_of(connection, ["big", "nowhere"])
    assert least <= found["big"] <= most
    assert "nowhere" not in found


def test_size_of_a_partitioned_table_is_that_of_its_parts(database: Dsn) -> None:
    """A partitioned table has the rows of all its partitions."""
    rows_of(database, "CREATE TABLE log (n int) PARTITION BY RANGE (n)")
    for start in (0, 1000):
        rows_of(database, f"CREATE TABLE log_{start} PARTITION OF log FOR VALUES FROM ({start}) TO ({start + 1000})")
    rows_of(database, "INSERT INTO log SELECT generate_series(0, 1999)")
    rows_of(database, "ANALYZE log")
    with closing(psycopg2.connect(database)) as connection:
        connection.autocommit = True
        assert table_sizes.sizes_of(connection, ["log"]) == {"log": 2000.0}


def test_what_is_no_table_is_not_weighed(settings: Settings) -> None:
    """A function that is gone has no size; PostgreSQL before 16 would not even read its name as that of a table."""
    revision = Revision("0003_it", (), Path("0003_it.py"), "", None, {})
    tokens = ("breaks-previous-release:f(integer, text)", "rewrites-table:task", "may-reject-writes:task")
    asked: list[str] = []
    weighed = gate.weigh(
        [(revision, Finding.parse(token)) for token in tokens],
        [revision],
        settings,
        lambda tables: asked.extend(tables) or {"task": 7.0},
        lambda _: {},
    )
    assert asked == ["task"]
    assert [one.rows for one in weighed] == [None, 7.0, 7.0]


def test_somebodys_lock_does_not_hold_up_the_weighing(
    database: Dsn, other_session: psycopg2.extensions.connection
) -> None:
    """A table under ACCESS EXCLUSIVE is weighed with the pages of last time, within a second."""
    rows_of(database, "CREATE TABLE big (n int)")
    rows_of(database, "INSERT INTO big SELECT generate_series(1, 1000)")
    rows_of(database, "ANALYZE big")
    with other_session.cursor() as cursor:
        cursor.execute("LOCK TABLE big")
    with closing(psycopg2.connect(database)) as connection:
        connection.autocommit = True
        assert table_sizes.sizes_of(connection, ["big"]) == {"big": 1000.0}


SHOW = """
from contextlib import closing
import psycopg2
from railhead.commands.overview import overview
from railhead.history import loader
from railhead.settings import load
from railhead.state.ledger import Filter
from utils.migrate import PROJECT

settings = load(PROJECT)
with closing(psycopg2.connect(settings.database)) as connection:
    shown = overview(connection, settings, loader.history(PROJECT), PROJECT.models,
                     compare=lambda *_: [], only=Filter(), window=lambda _: (25, 0))
print([planned.weighed for planned in shown.pending])
"""


def test_overview_does_not_believe_it_either(busy: Workshop) -> None:
    """What was sealed of a file before it was edited is not shown as what it would block."""
    sealed(busy)
    shown = busy.run(*python(SHOW))
    assert "index-blocks-writes" in shown.stdout, shown.stderr
    busy.write("0003_search", 'op.create_index_concurrently("ix_task_title", "task", ["title"])', after=HEAD)
    shown = busy.run(*python(SHOW))
    assert (shown.returncode, "index-blocks-writes" in shown.stdout) == (0, False), shown.stderr
