"""Would that hurt the database at hand?

Weighs what the manifest says of the pending revisions against the sizes of the tables that are there. Read-only; refuses
before anything is touched.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from railhead.diagnosis import refusals
from railhead.errors import Fact, Stop
from railhead.hazards import repeatability, rules
from railhead.hazards.loss import Loss
from railhead.hazards.rules import Finding
from railhead.hazards.table_sizes import Sizes, count, older_columns, older_name, older_names
from railhead.history import manifest, naming
from railhead.history.graph import History, Revision, checksums_of, source_of
from railhead.logs import log
from railhead.project import Project
from railhead.settings import Settings

SEAL = "python utils/migrate.py seal"

NOT_REPEATABLE = Finding("not-repeatable")

_NEVER_WELL = "no run has ended well here yet"

_THEN = f"then:\n{SEAL}"

Stake = Callable[[Sequence[Loss]], Mapping[Loss, str]]
"""Gives of each loss how much is there, in words; those of which nothing is there it leaves out."""

Sealed = Mapping[str, manifest.SealedRevision]
"""The lines of the manifest that still speak of pending revisions, by revision; see `sealed`."""


class Weighed(NamedTuple):
    """A hazard, and how much there is to it on this database."""

    revision: Revision
    finding: Finding
    rows: float | None
    """The server's estimate; None when there is no such table."""
    large: bool
    accepted: str | None
    """The reason for which the file accepts it."""
    lost: str | None = None
    """How much there is to lose, in words; None when nothing is, or when it is no matter of losing."""

    @property
    def blocks(self) -> bool:
        """Tell whether traffic would stand still, or something would be lost, and nobody has accepted that."""
        stands_still = self.finding.hazard.blocking and self.large
        return self.accepted is None and (stands_still or self.lost is not None)

    def record(self) -> dict[str, object]:
        """Return for JSON what every account of it tells."""
        return {
            "table": self.finding.table or None,
            "rows": None if self.rows is None else round(self.rows),
            "danger": self.finding.danger,
            "accepted": self.accepted,
            "lost": self.lost,
        }

    def __str__(self) -> str:
        if self.finding.loss:
            return f"{self.finding}, {self.finding.loss.words}: {self.lost or 'nothing is there'}"
        size = "" if self.rows is None else f", {count(self.rows)}"
        return f"{self.finding}{size}"


def sealed(project: Project, pending: Iterable[Revision]) -> Sealed:
    """Return the sealed lines that still speak of these files: of a file that was edited since nobody knows what it does.

    Reads the manifest and all files once; everything else here is told of them.
    """
    entries = manifest.entries(project.manifest)
    listed = [revision for revision in pending if revision.id in entries]
    checksums = checksums_of(project, listed) if listed else {}
    lines = {revision.id: entries[revision.id] for revision in listed}
    return {
        revision: line
        for revision, line in lines.items()
        if line.is_replayed and line.checksum == checksums.get(revision)
    }


def known(pending: Iterable[Revision], lines: Sealed) -> list[tuple[Revision, Finding]]:
    """Return what is known to be able to hurt about these revisions."""
    return [
        (revision, Finding.parse(token))
        for revision in pending
        if revision.id in lines
        for token in lines[revision.id].tokens
    ]


def judge(
    pending: Sequence[Revision],
    lines: Sealed,
    history: History,
    settings: Settings,
    sizes: Sizes,
    place: str,
    stake: Stake,
) -> None:
    """Return when these revisions may be applied. Raises Stop(`hazard`) when one would block a large table, or lose something.

    `place` is where the database is, for the message. As MIGRATE_HAZARDS says it is refused, only said, or neither.
    """
    if settings.hazards == "ignore":
        return
    weighed = [hazard for hazard in weigh(known(pending, lines), pending, settings, sizes, stake) if hazard.blocks]
    if weighed and settings.hazards == "refuse":
        raise refusal(weighed, history, settings, place)
    for hazard in weighed:
        log.warning("%s: %s, and it runs all the same (MIGRATE_HAZARDS=warn)", hazard.revision.id, hazard)


@contextmanager
def lenient_if(lenient: Callable[[], bool]) -> Iterator[None]:
    """Only warn of what is refused inside, where no run has ended well yet: the first one was not refused it, either."""
    try:
        yield
    except Stop as stop:
        if not lenient():
            raise
        log.warning("%s: accepted only because %s", stop.headline, _NEVER_WELL)


def assert_repeatable(
    pending: Sequence[Revision],
    lines: Sealed,
    history: History,
    action: str,
    place: str,
    *,
    empty: bool,
    lenient: Callable[[], bool],
) -> None:
    """Return when no revision could be left half done by a crash. Raises Stop(`not-repeatable`), which names all of them.

    Where there is no table yet (`empty`), or no run has ended well (`lenient`), starting from nothing is a way out: there it is only said.
    """
    replayed = (
        {revision.id: line.tokens for revision in pending if (line := lines.get(revision.id))}
        if action == "upgrade"
        else {}
    )
    half = [
        revision
        for revision in pending
        if not rules.accepted(revision, NOT_REPEATABLE) and _leaves_half(revision, replayed.get(revision.id), action)
    ]
    if not half:
        return
    one_of_them = not_repeatable(half[0], history, f"unchanged, {place}", action)
    if not lenient():
        raise one_of_them if len(half) == 1 else _several_not_repeatable(half, one_of_them)
    why = "this database has no tables yet" if empty else _NEVER_WELL
    what = one_of_them.headline if len(half) == 1 else f"{_several(half)}: {_some(half)}"
    log.warning("%s: accepted only because %s", what, why)


def is_repeatable(revision: Revision, lines: Sealed) -> bool:
    """Tell whether a replay has shown that a revision can be run again from the top."""
    line = lines.get(revision.id)
    return line is not None and NOT_REPEATABLE.token not in line.tokens


def _leaves_half(revision: Revision, tokens: Sequence[str] | None, action: str) -> bool:
    """Tell whether a crash leaves half of a revision: what was replayed is known, of anything else its file is read."""
    if tokens is None:
        return repeatability.leaves_half(revision.path, action)
    return NOT_REPEATABLE.token in tokens or repeatability.mixes(revision.path, action)


def _several(half: Sequence[Revision]) -> str:
    return f"{len(half)} revisions leave their transaction with work that cannot be run again from the top"


def _several_not_repeatable(half: Sequence[Revision], example: Stop) -> Stop:
    """Return the refusal of several revisions, of which `example` is the first's."""
    files = [("file", f"migrations/versions/{revision.file}") for revision in half]
    danger = [fact for fact in example.facts if fact[0] == "danger"]
    advice = (
        f"if other databases have had them for long, do not judge them any more:\n{SEAL} --adopted-up-to {half[-1].id}\n\n"
        'or accept it in each file, with the reason:\naccepted_hazards = {"not-repeatable": "why it is safe"}\n\n'
        f"or write them anew; how, says:\npython utils/migrate.py plan\n\n{_THEN}"
    )
    return Stop("not-repeatable", _several(half), facts=[*files, *danger], database=example.database, next_step=advice)


def _some(revisions: Sequence[Revision]) -> str:
    return ", ".join(revision.id for revision in revisions[:3]) + (
        f" and {len(revisions) - 3} more" if len(revisions) > 3 else ""
    )


def warn_of_unsealed(pending: Iterable[Revision], lines: Sealed, settings: Settings) -> None:
    """Log which revisions nobody has looked at as they are now, so that nothing is known of what they would block."""
    unsealed = [revision for revision in pending if revision.id not in lines and not revision.adopted]
    if unsealed:
        advice = "" if settings.production else f"; before you commit:  {SEAL}"
        log.warning("unsealed, so nobody knows what it would block: %s%s", _some(unsealed), advice)


def warn_of_adopted(pending: Iterable[Revision], lines: Sealed, settings: Settings) -> None:
    """Log in one line which revisions run unjudged because they are older than the first seal, and what is known of them."""
    older = [older_revision for older_revision in pending if older_revision.adopted]
    if not older or settings.hazards == "ignore":
        return
    leaving = {
        older_revision.id for older_revision in older if repeatability.leaves_half(older_revision.path, "upgrade")
    }
    slugs = Counter("not-repeatable" for _ in leaving)
    for revision, finding in known(older, lines):
        if (
            finding.hazard.blocking
            or finding.hazard.destroys
            or (finding.slug == "not-repeatable" and revision.id not in leaving)
        ):
            slugs[finding.slug] += 1
    counts = "".join(f", {slug} {count} times" if count > 1 else f", {slug} once" for slug, count in slugs.items())
    log.warning("%s older than the first seal, up to %s, so not judged%s", _revisions(older), older[-1].id, counts)


def _revisions(revisions: Sequence[Revision]) -> str:
    return "1 revision is" if len(revisions) == 1 else f"{len(revisions)} revisions are"


def weigh(
    findings: Sequence[tuple[Revision, Finding]],
    pending: Sequence[Revision],
    settings: Settings,
    sizes: Sizes,
    stake: Stake,
) -> list[Weighed]:
    """Return each finding with the size of its table, or what there is to lose, on the database that `sizes` and `stake` speak of."""
    if not findings:
        return []
    older = older_names(pending)
    tables = {finding.table for _, finding in findings if finding.table and finding.slug != "breaks-previous-release"}
    rows = sizes(sorted(tables | {older_name(table, older) for table in tables})) if tables else {}
    at_stake = lost([finding.loss for _, finding in findings if finding.loss], pending, stake)

    def weighed(revision: Revision, finding: Finding) -> Weighed:
        table = finding.table if finding.table in rows else older_name(finding.table, older)
        estimate = rows.get(table)
        large = estimate is not None and estimate >= settings.large_table
        amount = at_stake.get(finding.loss) if finding.loss else None
        return Weighed(revision, finding, estimate, large, rules.accepted(revision, finding), amount)

    return [weighed(*pair) for pair in findings]


def lost(losses: Sequence[Loss], pending: Sequence[Revision], stake: Stake) -> dict[Loss, str]:
    """Return what would be lost of what is there, asked under the names that tables and columns have now."""
    older, older_of_columns = older_names(pending), older_columns(pending)
    names = {loss: _names_now(loss, older, older_of_columns) for loss in losses}
    amounts = stake(list(dict.fromkeys(name for each in names.values() for name in each))) if names else {}
    amount_of = {loss: next(filter(None, map(amounts.get, each)), None) for loss, each in names.items()}
    return {loss: words for loss, words in amount_of.items() if words}


def _names_now(loss: Loss, older: Mapping[str, str], older_of_columns: Mapping[str, str]) -> list[Loss]:
    kind, name, _ = loss.parts
    current = older_name(name, older) if kind == "partition" else older_of_columns.get(name, name)
    tables = dict.fromkeys([loss.table, older_name(loss.table, older)])
    return [loss.renamed(table, column) for table in tables for column in dict.fromkeys([name, current])]


def refusal(weighed: Sequence[Weighed], history: History, settings: Settings, place: str) -> Stop:
    """Return the refusal of revisions that would block large tables or lose something, with what to write instead."""
    names = list(dict.fromkeys(one.revision.id for one in weighed))
    who = names[0] if len(names) == 1 else f"{len(names)} revisions"
    table = "a large table" if len(names) == 1 else "large tables"
    blocks, loses = (any(bool(one.lost) is lost for one in weighed) for lost in (False, True))
    would = [f"block {table}"] * blocks + ["destroy data"] * loses
    headline = f"{who} would {' and '.join(would)}"
    facts: list[Fact] = []
    steps: list[str] = []
    for name in names:
        own = [one for one in weighed if one.revision.id == name]
        facts += [("hazard", f"{one}\n{one.finding.danger}") for one in own]
        facts.append(("file", f"migrations/versions/{own[0].revision.file}"))
        steps.append(rewritten(own[0].revision, history, [one.finding for one in own]))
        reasons = ", ".join(f'"{slug}": "why"' for slug in dict.fromkeys(one.finding.slug for one in own))
        steps.append(f"or accept it there, with the reason:\naccepted_hazards = {{{reasons}}}")
    steps.append(_THEN)
    if blocks:
        facts.append(("large", f"from {settings.large_table:,} rows on (MIGRATE_LARGE_TABLE)"))
    return Stop("hazard", headline, facts=facts, database=f"unchanged, {place}", next_step="\n\n".join(steps))


def not_repeatable(revision: Revision, history: History, place: str, action: str) -> Stop:
    """Return the refusal of a revision that could not be mended after a crash, with the revisions to split it into."""
    advice = (
        f"{rewritten(revision, history, [Finding('not-repeatable')])}\n\n"
        'or accept it there, with the reason:\naccepted_hazards = {"not-repeatable": "why it is safe"}\n\n'
        f"{_THEN}"
    )
    mixes = repeatability.mixes(revision.path, action)
    refusal = refusals.mixed(revision) if mixes else refusals.unrepeatable(revision)
    return refusal.replaced(database=place, next_step=advice)


def rewritten(revision: Revision, history: History, findings: Sequence[Finding]) -> str:
    """Return what to write instead: the revision's own file written anew, or why that is not possible, with what to do by hand."""
    from railhead.hazards.remedy import recording, rewrite  # Alembic, which only those pay who are refused

    words = "\n".join(dict.fromkeys(finding.instead for finding in findings))
    numbers = [naming.number(name) or 0 for name in history.by_id]
    source = source_of(revision.path)
    successors = {other.file: source_of(other.path) for other in history.by_id.values() if revision.id in other.parents}
    try:
        remedy = rewrite.remedy(source, revision.file, findings, max(numbers, default=0) + 1, successors, history.by_id)
    except recording.NotRewritten as reason:
        return f"{words}\n\nits file cannot be written anew here: {reason}"
    return f"write it so:\n\n{remedy.text}" if remedy else words
