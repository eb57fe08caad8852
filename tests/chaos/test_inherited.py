"""Histories of public shape, from wherever a database is: Railhead makes of them what plain Alembic makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import pytest

from railhead.dsn import Dsn
from tests.databases import Databases, rows_of, url_of
from tests.forked_tree import Workshop
from tests.inherited.comparing import (
    OLD_FILE,
    assert_as_plain,
    assert_quiet,
    told,
)
from tests.inherited.project import HARBOUR, Inherited, contents
from tests.inherited.writing import committing, id_of, without_the_first
from tests.project_tree import ALEMBIC

MIDDLES = (
    "tonnage", "barge_rows", "convoy_note", "tide_source and cranes", "umlauts", "cargo_rows", "raw_cursor", "crew", "moorings",
)  # fmt: skip
"""Where databases stand: before, between and behind the revisions that commit, and once on two branches."""

HEAD = "last_words"
HISTORIES = {"stock": HARBOUR, "locking": committing(HARBOUR)}
"""By the env.py with which plain Alembic runs them."""

SEALS = {"adopted": ("seal",), "judged": ("seal", "--all", "--adopted-up-to", "base")}
"""Who takes over a history lets it be as it is, or has every revision judged."""


JUDGED = "judged"


class Answer(NamedTuple):
    """What plain Alembic makes of a history: copies of the databases on its way, and what the last one holds. And its seals, once made."""

    places: Mapping[str, str]
    head: str
    manifests: dict[str, str]


@pytest.fixture(scope="session")
def answers(_workshop: Workshop, templates: Databases) -> Mapping[str, Answer]:
    """Both histories, carried out by plain Alembic."""
    return {kind: _carried_out(Inherited(_workshop, records), kind, templates) for kind, records in HISTORIES.items()}


def _carried_out(project: Inherited, kind: str, templates: Databases) -> Answer:
    places: dict[str, str] = {}
    name = "template0"
    for middle in (*MIDDLES, HEAD):
        database = templates.new(name)
        project.plain(database, *(f"upgrade {id_of(part)}" for part in middle.split(" and ")), environment=kind)
        places[middle] = name = database.parameters()["dbname"]
    return Answer(places, contents(database), {})


def seal(project: Inherited, how: str, database: Dsn, answer: Answer) -> None:
    """Let the history be sealed, which for each way takes some seconds, and is done once."""
    if how not in answer.manifests:
        ended = project.railhead(database, *SEALS[how])
        assert ended.returncode == 0, ended.stderr
        answer.manifests[how] = project.manifest.read_text()
    project.manifest.write_text(answer.manifests[how])


@pytest.fixture(params=HISTORIES)
def kind(request: pytest.FixtureRequest) -> str:
    """Each of the histories."""
    return str(request.param)


@pytest.fixture
def project(answers: Mapping[str, Answer], workshop: Workshop, kind: str) -> Inherited:
    """A tree with this history, not sealed. (The answers come first: they are made in the same tree.)"""
    assert answers
    return Inherited(workshop, HISTORIES[kind])


@pytest.mark.parametrize("how", [None, "adopted", JUDGED])
def test_from_nothing(
    project: Inherited, database: Dsn, answers: Mapping[str, Answer], kind: str, how: str | None
) -> None:
    """An empty database comes to head in one run."""
    if how:
        seal(project, how, database, answers[kind])
    ended = project.railhead(database)
    assert ended.returncode == 0, ended.stderr
    assert_as_plain(project, database, answers[kind].head)
    assert rows_of(database, "SELECT count(*) FROM migration_ledger WHERE outcome = 'applied'") == [(len(HARBOUR),)]
    assert_quiet(ended.stderr, warnings=4)


@pytest.mark.parametrize("middle", MIDDLES)
def test_from_the_middle(
    project: Inherited, databases: Databases, answers: Mapping[str, Answer], kind: str, middle: str
) -> None:
    """A database that plain Alembic left half way comes to head once the history is adopted."""
    database = databases.new(answers[kind].places[middle])
    seal(project, "adopted", database, answers[kind])
    ended = project.railhead(database)
    assert ended.returncode == 0, ended.stderr
    assert_as_plain(project, database, answers[kind].head)
    assert_quiet(ended.stderr, warnings=2)


@pytest.mark.parametrize("how", [None, JUDGED])
@pytest.mark.parametrize("middle", ["tonnage", "raw_cursor"])
def test_from_the_middle_nothing_is_touched_before_it_is_accepted(
    project: Inherited, databases: Databases, answers: Mapping[str, Answer], kind: str, middle: str, how: str | None
) -> None:
    """What cannot be run again is refused beforehand, all files of it at once; accepted, all of it runs."""
    database = databases.new(answers[kind].places[middle])
    if how:
        seal(project, how, database, answers[kind])
    before = contents(database)
    ended = project.railhead(database)
    assert (ended.returncode, contents(database)) == (3, before), ended.stderr
    named = {record.id for record in project.records if f"{record.id}" in ended.stderr}
    accepted = 'accepted_hazards = {"not-repeatable": "applied everywhere"}'
    project.write([record.saying(accepted) if record.id in named else record for record in project.records])
    ended = project.railhead(database)
    assert ended.returncode == 0, ended.stderr
    assert_as_plain(project, database, answers[kind].head)


def test_down_and_up(project: Inherited, databases: Databases, answers: Mapping[str, Answer], kind: str) -> None:
    """What plain Alembic applied can be taken back as far as the files allow, gives what its downgrade gives, and comes again."""
    plain, ours = (databases.new(answers[kind].places[HEAD]) for _ in range(2))
    seal(project, "adopted", plain, answers[kind])
    cargo = id_of("cargo")
    project.plain(plain, f"downgrade {cargo}", environment=kind)
    ended = project.railhead(ours, "downgrade", cargo, "--yes")
    assert ended.returncode == 0, ended.stderr
    assert contents(ours) == contents(plain)
    project.plain(plain, "upgrade head", environment=kind)
    ended = project.railhead(ours)
    assert ended.returncode == 0, ended.stderr
    assert contents(ours) == contents(plain)


@pytest.mark.parametrize("behind", ["name_index", "convoy_note", "extra_values", "fee_kind", HEAD])
def test_nothing_is_lost_when_a_late_revision_fails(
    project: Inherited, database: Dsn, answers: Mapping[str, Answer], kind: str, behind: str
) -> None:
    """What came before the failure stays, with its rows in the ledger; once it is mended the next run goes on from there."""
    number = [record.name for record in HARBOUR].index(behind)
    whole = project.records
    broken = [*whole]
    broken[number] = broken[number].beginning_with("op.execute('SELECT 1/0')")
    project.write(broken)
    ended = project.railhead(database)
    assert ended.returncode in {5, 6}, ended.stderr
    assert broken[number].id in ended.stderr
    assert (whole[number - 1].id,) in rows_of(database, "SELECT version_num FROM alembic_version"), ended.stderr
    project.write(whole)
    ended = project.railhead(database)
    assert ended.returncode == 0, ended.stderr
    assert contents(database) == answers[kind].head


def test_a_database_of_plain_alembic_is_only_looked_at(
    project: Inherited, databases: Databases, answers: Mapping[str, Answer], kind: str
) -> None:
    """Every command that reads says so without a word of noise, and leaves nothing behind; the start has nothing to do."""
    database = databases.new(answers[kind].places[HEAD])
    seal(project, "adopted", database, answers[kind])
    for command in (("status", "--exit-code"), ("log",), ("plan",), ("wait",), ("upgrade",)):
        ended = project.railhead(database, *command)
        noise = [OLD_FILE] if command[0] == "plan" else []
        assert (ended.returncode, told(ended.stderr)) == (0, noise), ended
    ended = project.tree.run(*ALEMBIC, "current", DATABASE_URL=url_of(database))
    assert (ended.returncode, told(ended.stderr)) == (0, [OLD_FILE]), ended
    assert contents(database) == answers[kind].head
    assert rows_of(database, "SELECT to_regclass('migration_ledger')") == [(None,)]


def test_a_database_without_a_version_is_adopted(
    project: Inherited, databases: Databases, answers: Mapping[str, Answer], kind: str
) -> None:
    """The schema says which revision a database is at that lost its alembic_version, and the start goes on from there."""
    database = databases.new(answers[kind].places[HEAD])
    seal(project, "adopted", database, answers[kind])
    rows_of(database, "DROP TABLE alembic_version")
    ended = project.railhead(database)
    assert ended.returncode == 0, ended.stderr
    assert contents(database) == answers[kind].head


QUIET = {"not-repeatable": "applied everywhere"}


def test_hazards_are_weighed_as_the_settings_say(
    workshop: Workshop, databases: Databases, answers: Mapping[str, Answer]
) -> None:
    """What nobody adopted is refused where the tables are large, said, or neither; refused, nothing is touched."""
    project = Inherited(workshop, [record.saying(f"accepted_hazards = {QUIET}") for record in HARBOUR])
    middle, large = answers["stock"].places["moorings"], {"MIGRATE_LARGE_TABLE": "1"}
    database = databases.new(middle)
    rows_of(database, "ANALYZE")
    assert project.railhead(database, *SEALS["judged"]).returncode == 0
    before = contents(database)
    ended = project.railhead(database, **large)
    assert (ended.returncode, contents(database)) == (3, before)
    assert "[hazard]" in ended.stderr
    for hazards in ("warn", "ignore"):
        database = databases.new(middle)
        rows_of(database, "ANALYZE")
        ended = project.railhead(database, MIGRATE_HAZARDS=hazards, **large)
        assert ended.returncode == 0, ended.stderr
        assert_as_plain(project, database, answers["stock"].head)
        assert ("MIGRATE_HAZARDS=warn" in ended.stderr) == (hazards == "warn")


@pytest.mark.parametrize(("hazards", "warnings"), [("refuse", 2), ("warn", 2), ("ignore", 1)])
def test_what_is_adopted_is_not_weighed(
    project: Inherited, databases: Databases, answers: Mapping[str, Answer], kind: str, hazards: str, warnings: int
) -> None:
    """However large the tables are: one line of warning, and none where hazards are ignored."""
    database = databases.new(answers[kind].places["crew"])
    rows_of(database, "ANALYZE")
    seal(project, "adopted", database, answers[kind])
    ended = project.railhead(database, MIGRATE_HAZARDS=hazards, MIGRATE_LARGE_TABLE="1")
    assert ended.returncode == 0, ended.stderr
    assert_quiet(ended.stderr, warnings)
    assert_as_plain(project, database, answers[kind].head)


def test_a_history_whose_first_tables_came_from_create_all(
    workshop: Workshop, databases: Databases, answers: Mapping[str, Answer]
) -> None:
    """It cannot be replayed from nothing, but a database that is on its way goes on as with plain Alembic."""
    project = Inherited(workshop, without_the_first(HARBOUR))
    database = databases.new(answers["stock"].places["cargo_rows"])
    listed = project.railhead(database, "seal", "--no-replay")
    assert listed.returncode == 0, listed.stderr
    ended = project.railhead(database)
    assert ended.returncode == 0, ended.stderr
    assert_as_plain(project, database, answers["stock"].head)
