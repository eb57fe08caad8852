"""How do we say it? Text and JSON of the same record.

Only turns records into text: never connects, never decides.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from railhead.errors import labelled
from railhead.hazards import gate
from railhead.hazards.rules import Finding
from railhead.history.errors import OTHERS, apart, deletion, overlapping
from railhead.history.graph import POST_DEPLOY
from railhead.schema.ownership import few

if TYPE_CHECKING:  # only `upgrade` is in a hurry, and it needs none of them
    from railhead.autogenerate.model_diff import Difference
    from railhead.commands.doctor_settings import CheckMessage
    from railhead.commands.plan import Plan, Planned
    from railhead.commands.rebase import Moved
    from railhead.commands.seal import Sealed
    from railhead.history.planner import MigrationStep
    from railhead.state.drift import Drift
    from railhead.state.ledger import LedgerRow
    from railhead.state.status import Pending, Status


_SENTENCES = {
    "current": "the database is at head",
    "behind": "the database lacks {pending}",
    "settling": "all that this release needs is there; post-deploy work is left: {pending}",
    "ahead": "the database is ahead of this code",
    "unknown": "the database is at a revision that this code does not have",
    "unmanaged": "the database has tables, but no version",
    "fallback": "DEV_CREATE_TABLES made the tables; the database has no version",
    "forked": "the history of this code is forked",
}
_NEXT = {
    "behind": "python utils/migrate.py upgrade",
    "settling": "python utils/migrate.py finish",
    "ahead": "deploy the release that has this revision",
    "unknown": "deploy the release that has this revision, or see whether this is the right database",
    "unmanaged": "python utils/migrate.py adopt",
    "fallback": "python utils/migrate.py adopt          or, to start from nothing:  python utils/migrate.py reset",
    "forked": "python utils/migrate.py rebase REVISION",
}


def as_json(record: object) -> str:
    """Return `record` as JSON, fit for people and for programs."""
    return json.dumps(record, indent=2, ensure_ascii=False, default=str)


def sentence(status: Status) -> str:
    """Return the state as one sentence."""
    count = len(status.pending)
    if status.redundant:
        return overlapping()
    if status.state == "current" and status.unmet:
        return "the database is at head, but not as its migrations left it: what this code needs is gone"
    if status.state == "unknown" and status.known:
        return OTHERS
    return _SENTENCES[status.state].format(
        pending=f"{count} revision{'' if count == 1 else 's'}" if count else "revisions"
    )


def next_step(status: Status) -> str | None:
    """Return what to do about the state; None when there is nothing to do."""
    if status.state == "forked" and len(status.heads) > 1:
        free = [head for head in status.heads if head not in status.current]  # what this database has keeps its name
        return f"python utils/migrate.py rebase {(free or status.heads)[-1]}"
    if status.redundant:
        return deletion(status.redundant)
    if status.state == "current" and status.unmet:
        return "python utils/migrate.py drift"
    if status.state == "behind" and status.lock:
        return "wait for the run that holds the lock:\npython utils/migrate.py wait"
    if status.state == "behind" and (what := _refused(status)):
        return f"an upgrade would be refused, because of {what}; what to write instead:\npython utils/migrate.py plan"
    if status.state == "unknown" and status.known:
        return apart(status.known, status.unknown)
    return None if status.state == "ahead" and status.can_serve else _NEXT.get(status.state)


def _refused(status: Status) -> str | None:
    """Return what of the pending revisions a start would refuse, as far as it was counted: something that is there would be lost."""
    losses = (
        f"{Finding.parse(token).slug} of {Finding.parse(token).table}"
        for pending in status.pending
        for token, amount in (pending.lost or {}).items()
        if token in pending.hazards and amount != "nothing is there"
    )
    return next(losses, None)


def status_text(status: Status) -> str:
    """Return where the database is, for a tired person: the state first, then the facts, then what to do."""
    flags = f"  ({', '.join(status.flags)})" if status.flags else ""
    facts = [("current", ", ".join(status.current) or "none"), ("head", ", ".join(status.heads) or "none")]
    facts += [("pending", "\n".join(_pending_line(one) for one in status.pending) or "none")]
    if status.unknown:
        facts.append(("unknown", "\n".join(status.unknown)))
    if status.others:
        facts.append(("left alone", f"{few(status.others)}: no revision and no model names them"))
    if status.waits:
        facts.append(("waits", status.waits))
    if status.unmet:
        facts.append(("missing", "\n".join(status.unmet)))
    facts += [
        ("database", f"{status.database}, {status.server}"),
        ("lock", f"held by {status.lock}" if status.lock else "free"),
        ("last", entry_line(status.last) if status.last else "nothing in the ledger"),
    ]
    lines = [f"{status.state}{flags}: {sentence(status)}", ""]
    lines += [line for label, text in facts for line in labelled(label, text)]
    step = next_step(status)
    if step:
        lines += ["", *labelled("next", step)]
    return "\n".join(lines)


def entry_line(entry: LedgerRow) -> str:
    """Return one row of the ledger as one line."""
    seconds = f" in {entry.duration_ms} ms" if entry.duration_ms is not None else ""
    release = f", release {entry.release[:12]}" if entry.release else ""
    error = f": {' '.join(entry.error.split())}" if entry.error else ""
    what = f"{entry.action} {entry.revision or ''}".strip()
    when = f"{entry.started_at.astimezone():%Y-%m-%d %H:%M:%S %z}"  # this machine's time, as in the log
    return f"{when}  {what} {entry.outcome}{seconds}, {entry.actor}{release}{error}"


def drift_text(drift: Drift) -> str:
    """Return the two answers, apart: each difference with what mends it."""
    outside = "no run has kept a catalog yet: nothing to compare with"
    models = "not compared: the database is not at head"
    return "\n\n".join(
        [
            _half("changed outside the migrations", drift.outside, outside),
            _half("models.py against the migrations", drift.models, models),
            *([f"not ours, left alone: {few(drift.left_alone)}"] if drift.left_alone else []),
        ]
    )


def _half(title: str, differences: list[Difference] | None, without: str) -> str:
    if differences is None:
        return f"{title}: {without}"
    lines = [f"{title}: {f'{len(differences)} found' if differences else 'nothing'}"]
    for difference in differences:
        lines += ["", f"  {difference.object} {difference.kind}"]
        lines += (
            labelled("expected", difference.expected)
            + labelled("found", difference.found)
            + labelled("mend", difference.mend)
        )
    return "\n".join(lines)


def findings_text(findings: Iterable[CheckMessage]) -> str:
    """Return what the doctor found, and what to do about it."""
    shown = ("\n".join([f"{finding.what}  [{finding.slug}]", *labelled("next", finding.next)]) for finding in findings)
    return "\n\n".join(shown) or "nothing found"


def log_text(entries: Iterable[LedgerRow]) -> str:
    """Return the ledger, newest first."""
    return "\n".join(map(entry_line, entries)) or "nothing in the ledger"


def steps_text(action: str, steps: Iterable[MigrationStep]) -> str:
    """Return what a run would do."""
    lines = [
        f"  {action} {step.revision}" + (f"  (migrations/versions/{step.file})" if step.file else "") for step in steps
    ]
    return "\n".join(lines) or "nothing to do"


def plan_text(plan: Plan) -> str:
    """Return what an upgrade would do, revision by revision."""
    if not plan.steps:
        return f"plan: nothing to do, the database is {plan.place}"
    count = f"{len(plan.steps)} revision{'' if len(plan.steps) == 1 else 's'}"
    lines = [f"plan: {count} from {plan.place}"] + ([f"note: {plan.note}"] if plan.note else [])
    for early, late in plan.out_of_order:
        lines += labelled(
            "phase", f"{early} is pre-deploy and builds on {late}: a start does that first, before it serves"
        )
    for step in plan.steps:
        lines += ["", *_planned(step)]
    return "\n".join(lines)


def _planned(step: Planned) -> Iterator[str]:
    yield f"{step.revision}  ({step.file})"
    if step.phase == POST_DEPLOY:
        yield from labelled(
            "phase", "post-deploy: a start leaves it for `finish`, unless a pre-deploy revision builds on it"
        )
    for effect in step.statements:
        does = f"\n  -- {', '.join(effect.does)}" if effect.does else ""
        yield from labelled("sql", f"{effect.sql}{does}")
    if step.source == "nothing":
        yield from labelled("unsealed", f"nobody has looked at what this blocks:  {gate.SEAL}")
    for hazard in step.hazards:
        weight = " (large)" if hazard.large else ""
        accepted = f"\naccepted: {hazard.accepted}" if hazard.accepted else ""
        shown = "" if hazard.accepted or (hazard.blocks and step.instead) else f"\n{hazard.finding.instead}"
        yield from labelled("hazard", f"{hazard}{weight}\n{hazard.finding.danger}{shown}{accepted}")
    if step.unseen:
        yield from labelled("not seen", step.unseen)
    if step.instead:
        yield from labelled("refused", step.instead)
    works = {None: "nobody knows whether it keeps working", True: "stops working", False: "keeps working"}[
        step.breaking
    ]
    yield from labelled("previous", "\n".join([f"the release before this one {works}", *step.breaks]))
    if step.source != "nothing":
        yield from labelled("back", step.back or "its downgrade gives back the schema before it")


def rebased_text(moved: Sequence[Moved]) -> str:
    """Return which revisions were put where."""
    count = f"{len(moved)} revision{'' if len(moved) == 1 else 's'}"
    lines = [f"rebase: {count} on top of {moved[0].parent}", ""]
    for change in moved:
        lines += labelled("moved", f"{change.was_file} -> {change.file}\ndown_revision = {change.parent}")
    return "\n".join([*lines, "", *labelled("next", f"{gate.SEAL}\npython utils/migrate.py upgrade")])


def sealed_text(sealed: Sealed, *, advice: bool = False) -> str:
    """Return what `seal` did and found: of a few revisions with what to write instead, of more only how much, unless `advice`."""
    count = f"{sealed.revisions} revision{'' if sealed.revisions == 1 else 's'} in migrations/manifest.txt"
    done = f", {len(sealed.replayed)} replayed" if sealed.replayed else "" if sealed.changed else ", as before"
    hurting = dict.fromkeys(hurt.id for hurt, _ in sealed.found)
    lines = [f"seal: {count}{done}", *_adopted(sealed), *([] if sealed.is_short else _counted(sealed))]
    for revision in hurting if advice or sealed.is_short else ():
        lines += ["", *_found(sealed, revision)]
    for early, late in sealed.out_of_order:
        lines += labelled(
            "phase",
            f"{early} is pre-deploy and builds on {late}, so a start has to do that first: put it before, or into a release of its own",
        )
    for file, what in sealed.not_seen:
        lines += labelled("not seen", f"migrations/versions/{file}: {what}")
    lines += [
        f"{hurt.file}: accepted_hazards names {name}, and no hazard is called that" for hurt, name in sealed.unknown
    ]
    return "\n".join(lines)


def some(names: Sequence[str]) -> str:
    """Return the first names, and how many more there are."""
    return ", ".join(names[:_FEW]) + (f" and {len(names) - _FEW} more" if len(names) > _FEW else "")


_FEW = 5
"""Of how many names each is told."""


def _adopted(sealed: Sealed) -> Iterator[str]:
    """Yield, when the line was drawn just now, what that means and how it is moved."""
    older = [revision.id for revision in sealed.history.by_id.values() if revision.adopted]
    if sealed.drawn and older:
        yield f"{len(older)} of them, up to {older[-1]}, are older than the first seal: they were not judged, and run with a warning"
        yield from labelled(
            "next", f"judge them too:  {gate.SEAL} --all\ndraw the line elsewhere:  {gate.SEAL} --adopted-up-to REV"
        )


def _counted(sealed: Sealed) -> Iterator[str]:
    for slug, count in Counter(finding.slug for _, finding in sealed.found).most_common():
        files = list(dict.fromkeys(revision.file for revision, finding in sealed.found if finding.slug == slug))
        yield from labelled("hazard", f"{slug}, {count} times: {some(files)}")
    yield from labelled(
        "next", f"what to write instead:  {gate.SEAL} --advice\nof what is pending here:  python utils/migrate.py plan"
    )


def _found(sealed: Sealed, name: str) -> Iterator[str]:
    own = [finding for hurt, finding in sealed.found if hurt.id == name]
    revision = sealed.history.by_id[name]
    yield f"migrations/versions/{revision.file}"
    for finding in own:
        yield from labelled("hazard", f"{finding}\n{finding.danger}")
    if name in sealed.instead:
        yield from labelled("next", sealed.instead[name])


def _in_short(finding: Finding, amount: str | None) -> str:
    if finding.loss:
        return f"{finding.slug} of {finding.table} ({finding.loss.words}{f': {amount}' if amount else ''})"
    return f"{finding.slug} of {finding.table}" if finding.table else finding.slug


def _pending_line(pending: Pending) -> str:
    first = pending.message.splitlines()[0] if pending.message else ""
    warnings = ["post-deploy"] if pending.phase == POST_DEPLOY else []
    warnings += ["breaks the previous release"] if pending.breaking else []
    findings = {token: Finding.parse(token) for token in pending.hazards}
    warnings += [
        _in_short(finding, (pending.lost or {}).get(token))
        for token, finding in findings.items()
        if finding.slug != "breaks-previous-release"
    ]
    return f"{pending.revision}  {first}".strip() + (f"\n  {', '.join(warnings)}" if warnings else "")
