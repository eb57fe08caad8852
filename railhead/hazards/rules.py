"""What could hurt about a revision?

Each hazard is one record: when it is there, why it hurts, what to write instead. They judge footprints, that is what
PostgreSQL itself said about a revision, and not SQL. How large the tables are is judged elsewhere.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

from railhead.hazards import checks
from railhead.hazards.checks import Hit
from railhead.hazards.footprint import Footprint
from railhead.hazards.loss import Loss
from railhead.hazards.table_names import in_words
from railhead.history.graph import Revision
from railhead.schema import compatibility


class Hazard(NamedTuple):
    """One thing that could hurt."""

    slug: str
    danger: str
    """One sentence; `{table}` and `{thing}` become the reader's own names."""
    thing: str
    """What `{thing}` is when only the table is known."""
    instead: str
    """What to write instead, with the same names."""
    blocking: bool
    """Whether traffic waits for as long as it takes, so that it is refused on a large table."""
    check: Callable[[Footprint], Iterable[Hit]]
    story: str
    """For the guide: what happens, and why."""
    destroys: bool = False
    """Whether something is lost, so that it is refused wherever that is there, whatever the size."""


class Finding(NamedTuple):
    """A hazard in a revision."""

    slug: str
    table: str = ""
    thing: str = ""

    @property
    def hazard(self) -> Hazard:
        """Return the record."""
        return HAZARDS[self.slug]

    @property
    def danger(self) -> str:
        """Return the danger in the reader's own names."""
        return self._filled(self.hazard.danger)

    @property
    def instead(self) -> str:
        """Return what to write instead, in the reader's own names."""
        return self._filled(self.hazard.instead)

    @property
    def token(self) -> str:
        """Return `slug:table`, as the manifest lists it; with what is lost behind it where something is."""
        lost = f":{self.thing}" if self.hazard.destroys else ""
        return f"{self.slug}:{self.table}{lost}" if self.table else self.slug

    @classmethod
    def parse(cls, token: str) -> Finding:
        """Return the finding that `token` names; what is meant in its table it does not tell."""
        slug, _, table = token.partition(":")
        if slug in HAZARDS and HAZARDS[slug].destroys and (parts := _LOSS.fullmatch(table)):
            return cls(slug, parts["table"], parts["what"])
        return cls(slug, table)

    @property
    def loss(self) -> Loss | None:
        """Return what is lost; None where nothing is."""
        return Loss(self.table, self.thing) if self.hazard.destroys else None

    def __str__(self) -> str:
        return f"{self.slug}: {self.table}" if self.table else self.slug

    def _filled(self, text: str) -> str:
        thing = self.loss.words if self.loss else self.thing
        thing = thing or self.hazard.thing.format(table=self.table)
        filled = text.format(table=self.table or "a table", thing=thing, **in_words(self.table or "a_table"))
        return filled[:1].upper() + filled[1:]


def findings(footprint: Footprint, revision: Revision | None = None) -> list[Finding]:
    """Return what could hurt about a revision, each hazard once for each table and thing.

    Given the revision, its author's `breaking = False` is believed. What `accepted_hazards` accepts is found all the same.
    """
    hits = [Finding(hazard.slug, *hit) for hazard in HAZARDS.values() for hit in hazard.check(footprint)]
    believed = revision is not None and revision.breaking is False
    return [finding for finding in dict.fromkeys(hits) if not (believed and finding.slug == "breaks-previous-release")]


ADOPTED = "older than the first seal, so it is not judged (migrations/manifest.txt: adopted up to)"


def accepted(revision: Revision, finding: Finding) -> str | None:
    """Return the reason for which a hazard is accepted, None when it is not: its file's, or that it is older than the first seal."""
    return accepted_in_file(revision, finding) or (ADOPTED if revision.adopted else None)


def accepted_in_file(revision: Revision, finding: Finding) -> str | None:
    """Return the reason for which a revision's file accepts a hazard, None when it does not.

    `accepted_hazards` names a slug, or `slug:table` for one table only. Without a reason nothing is accepted.
    """
    reasons = revision.accepted_hazards
    reason = reasons.get(finding.token, reasons.get(f"{finding.slug}:{finding.table}", reasons.get(finding.slug)))
    return str(reason).strip() or None if reason is not None else None


def unknown_slugs(revision: Revision) -> list[str]:
    """Return what `accepted_hazards` names and no hazard is called."""
    return [name for name in revision.accepted_hazards if name.partition(":")[0] not in HAZARDS]


def is_breaking(footprint: Footprint, revision: Revision) -> bool:
    """Tell whether the previous release stops working; what the author says (`breaking = False`) goes before the catalogs."""
    if revision.breaking is not None:
        return revision.breaking
    return bool(compatibility.breaks(footprint.before, footprint.after))


_LOSS = re.compile(r'(?P<table>(?:[^":]|"(?:[^"]|"")*")+):(?P<what>.*)', re.DOTALL)
"""A table, as PostgreSQL quotes it, and what is lost of it."""


_RECORDS = (
    Hazard(
        slug="rewrites-table",
        danger="{thing} writes all of {table} anew, and nobody can read or write {table} until that is done.",
        thing="one statement",
        instead="Three steps, in three releases that each work with the one before:\n"
        "1. add a column of the new kind to {table}, without a default that has to be computed for each row;\n"
        "   let the application write both\n"
        '2. op.backfill({name}, "new = old", "new IS NULL AND old IS NOT NULL"{schema})\n'
        "3. let the application read the new column; drop the old one a release later",
        blocking=True,
        check=checks.rewrites,
        story="Most changes of a type, a new column whose default differs from row to row (`gen_random_uuid()`, an identity,\n"
        "a stored generated column) and `VACUUM FULL`, `CLUSTER` or `REFRESH MATERIALIZED VIEW` copy the whole table while\n"
        "they hold it under ACCESS EXCLUSIVE: every query on it waits, for as long as the copy takes. PostgreSQL copies some\n"
        "100 MB a second at best, and builds all indexes again.",
    ),
    Hazard(
        slug="scans-under-lock",
        danger="{thing} reads every row of {table}, and until that is done others cannot write.",
        thing="one statement",
        instead="Let a constraint that is NOT VALID hold for new rows first, and look at the old ones without a lock:\n"
        'op.set_not_null({name}, "column"{schema})\n'
        'or op.create_check_constraint_not_valid("name", {name}, "condition"{schema})\n'
        '   op.validate_constraint("name", {name}{schema})',
        blocking=True,
        check=checks.scans,
        story="`SET NOT NULL` and a CHECK constraint have to hold for the rows that are there, so PostgreSQL reads them all, under\n"
        "ACCESS EXCLUSIVE. Added NOT VALID a constraint holds for what is written from now on and takes a moment; VALIDATE then\n"
        "reads the old rows while everybody goes on reading and writing. A validated `column IS NOT NULL` also proves\n"
        "`SET NOT NULL`, which then reads nothing: that is what `op.set_not_null` does.",
    ),
    Hazard(
        slug="index-blocks-writes",
        danger="building {thing} blocks every write to {table} until it is finished.",
        thing="an index",
        instead="Build it concurrently, in a revision of its own:\n"
        'op.create_index_concurrently("name", {name}, ["column"]{schema})\n'
        'or op.create_unique_constraint_concurrently("name", {name}, ["column"]{schema})',
        blocking=True,
        check=checks.indexes,
        story="CREATE INDEX and ADD UNIQUE take a lock that lets others read and makes every write wait until the index is built:\n"
        "seconds for a million rows, minutes for a hundred. CONCURRENTLY builds it beside the traffic. It cannot run inside a\n"
        "transaction and leaves an INVALID index behind when it fails; `op.create_index_concurrently` drops such a leftover and\n"
        "may be run again.",
    ),
    Hazard(
        slug="foreign-key-blocks-writes",
        danger="{thing} of {table} is checked for every row, while nobody can write {table} or the table that it refers to.",
        thing="a foreign key",
        instead="Add it for new rows, then check the old ones without a lock, in a revision of its own:\n"
        'op.create_foreign_key_not_valid("name", {name}, "other", ["column"], ["id"]{source_schema})\n'
        'op.validate_constraint("name", {name}{schema})',
        blocking=True,
        check=checks.foreign_keys,
        story="A new foreign key is checked for all rows under SHARE ROW EXCLUSIVE on both tables: reads go on, writes to either wait.\n"
        "NOT VALID it takes a moment and holds for new rows; VALIDATE checks the old ones while both tables are written.",
    ),
    Hazard(
        slug="writes-rows",
        danger="{thing} changes rows of {table} in one transaction, and keeps each of them locked until it ends.",
        thing="one statement",
        instead="Write them in batches, in a revision of its own:\n"
        'op.backfill({name}, "column = value", "column IS NULL"{schema})',
        blocking=True,
        check=checks.writes,
        story="An UPDATE of many rows locks each of them until the migration commits: whoever wants to change one of them waits. It\n"
        "also doubles the table's size, and keeps VACUUM from its work everywhere. `op.backfill` commits every few thousand\n"
        "rows, may be stopped at any moment and goes on where it was. Rows that are inserted one by one are no hazard.",
    ),
    Hazard(
        slug="long-lock-chain",
        danger="Locking {table} while {thing} is locked makes traffic on all of them stand still until the last lock is there.",
        thing="another table",
        instead="One revision for each table, so that each gives its lock back before the next one waits. What needs two tables\n"
        "by its nature (dropping a foreign key or a table that has some) gives way by itself: it waits for at most\n"
        "MIGRATE_LOCK_TIMEOUT, is rolled back and tried again.",
        blocking=False,
        check=checks.chains,
        story="A transaction keeps every lock until it ends. While it waits for the second table, everybody waits for the first; and\n"
        "an application that takes the two in the other order can end in a deadlock. A foreign key is a lock on the table that it\n"
        "refers to as well: a column with one, or a new table with one beside another change, is such a chain.",
    ),
    Hazard(
        slug="breaks-previous-release",
        danger="The release before this one misses something: {thing}.",
        thing="something of {table} that it uses is gone or narrower",
        instead="Two releases: the first no longer uses what goes away and fills what must have a value, the second changes {table} and\n"
        "says in its file\n"
        "breaking = False  # release 41 is ready for it\n"
        "A new column that must have a value is no danger with a server default.",
        blocking=False,
        check=checks.breaks,
        story="While a deploy goes on, the release before it still serves requests on the new schema, and a rollback brings it back\n"
        "for longer. Whatever it names has to stay until no running release names it: expand first, contract a release later.\n"
        "A renamed column is a dropped one to the code that knows the old name.",
    ),
    Hazard(
        slug="may-reject-writes",
        danger="{thing} of {table} rejects writes that were right until now; the release before this one may still make them.",
        thing="a new rule",
        instead="Let a release go out first that keeps to the rule, and mend the rows that are there. Then say so in the file:\n"
        'accepted_hazards = {{"may-reject-writes": "since release 41 nothing else is written"}}',
        blocking=False,
        check=checks.rejects,
        story="A new unique, check or foreign key on a table that is in use turns requests into errors when running code does not\n"
        "keep to it, and the migration itself fails on the first row that does not. A rule on columns that are new in the same\n"
        "revision troubles nobody: no running code writes them yet.",
    ),
    Hazard(
        slug="not-repeatable",
        danger="After a crash half way the revision cannot be mended by running it again: {thing}.",
        thing="it works both inside its transaction and outside of it",
        instead="Split it: what leaves the transaction (op.create_index_concurrently, op.backfill, ...) goes into a revision of its own,\n"
        "and `with op.get_context().autocommit_block()` gives way to those verbs, which may be run again from the top.\n"
        "Where it commits by hand (`op.get_bind().commit()`, `op.execute('COMMIT')`), take that out.",
        blocking=False,
        check=checks.not_repeatable,
        story="What is done outside a transaction stays when the process dies: half of the revision is there, and the version is not.\n"
        "Started again it fails on its own first half (`already exists`). A revision either stays in its transaction, or holds\n"
        "only verbs that may be run again. Unless it is accepted, such a revision is refused on every database where a run has\n"
        "ended well before.",
    ),
    Hazard(
        slug="destroys-data",
        danger="it takes away {thing} of {table}; no downgrade gives back what rows hold there.",
        thing="something",
        instead="First let a release serve that neither reads nor writes it, then look whether anybody misses it. Where it has to be\n"
        "kept, copy it first, in a revision of its own:\n"
        "op.execute({copy})",
        blocking=False,
        check=checks.destroys,
        destroys=True,
        story="A dropped table or column, deleted rows, a narrower type and a value taken out of an enum are gone when the revision is\n"
        "committed: a downgrade makes the column again, and not what was in it. So it is refused wherever there is something to\n"
        "lose, be it one row, until the file says why that is right. Where nothing is there it runs without a word.",
    ),
    Hazard(
        slug="not-reversible",
        danger="Going back does not give the schema from before: {thing}.",
        thing="something is left, or it fails",
        instead="Write into downgrade() the opposite of each step of upgrade(), in the opposite order.\n"
        "A type that op.create_table made is not dropped with the table: op.execute('DROP TYPE ...').",
        blocking=False,
        check=checks.not_reversible,
        story="A downgrade is rarely needed and then in a hurry. One that leaves something behind makes the next upgrade fail on it.\n"
        "What truly cannot be taken back is accepted with its reason.",
    ),
)

HAZARDS: Mapping[str, Hazard] = {hazard.slug: hazard for hazard in _RECORDS}
"""All hazards by slug, the worst first."""
