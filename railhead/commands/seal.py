"""Is the manifest true, and how is it written?

Only `python utils/migrate.py seal` (and `rebase`, which seals what it has moved) writes `migrations/manifest.txt`. What a
revision does is found out on a scratch database, once: it holds until the file, or one that it builds on, means something else.
Checking never writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from railhead.commands.baseline import Baseline
from railhead.commands.progress import Progress
from railhead.devserver import scratch
from railhead.diagnosis import refusals
from railhead.dsn import Dsn
from railhead.errors import Fact, Stop
from railhead.hazards import gate, history_replay, parallel_replay, rules, servable, unseen
from railhead.hazards.footprint import Footprint
from railhead.hazards.replay import Failed
from railhead.hazards.rules import Finding
from railhead.history import baseline, loader, manifest
from railhead.history.checksum import checksum_of
from railhead.history.graph import History, Revision, checksums_of, find
from railhead.history.manifest import SealedRevision
from railhead.history.origin import Origin
from railhead.postgres import failures
from railhead.project import Project, own_tables
from railhead.settings import Settings


class Sealed(NamedTuple):
    """What `seal` did."""

    revisions: int
    replayed: tuple[str, ...]
    unseen: tuple[str, ...]
    """Revisions of which only file, parents and checksum are listed."""
    changed: bool
    found: tuple[tuple[Revision, Finding], ...]
    """What could hurt about the replayed ones and is not accepted."""
    unknown: tuple[tuple[Revision, str], ...]
    """What `accepted_hazards` names and no hazard is called."""
    not_seen: tuple[tuple[str, str], ...]
    """Files of the replayed ones that ask tables for rows which a replay has not, and what was not seen because of that."""
    instead: Mapping[str, str]
    """What to write instead of each revision that is told of; of many revisions only when that is asked for."""
    out_of_order: tuple[tuple[str, str], ...]
    """Pre-deploy revisions among the replayed ones, each with the post-deploy one that a start has to do first because of it."""
    history: History
    drawn: bool
    """Whether this has drawn the line up to which revisions are adopted, or moved it."""

    @property
    def is_short(self) -> bool:
        """Tell whether so few revisions could hurt that everything is told of each unasked."""
        return _are_few(self.found)


FIRST_SEAL = "the first seal"
"""For `adopted_up_to`: whatever is there at the first seal, if the history comes from elsewhere."""


def write(
    settings: Settings,
    *,
    look: bool = True,
    every: bool = False,
    advise: bool = False,
    adopted_up_to: str | None = None,
    start: Baseline | None = None,
) -> Sealed:
    """Write the manifest, and return what was found. Changes scratch databases only, and those only to `look`.

    What is older than the first seal is listed without looking, unless `every`; `adopted_up_to` draws that line (a revision, `base`,
    FIRST_SEAL). To `advise`, what was sealed before is found again. Raises Stop when the files form no history, or when a revision does not run from empty: then nothing is written.
    """
    project = settings.project
    history = _history(project)
    before = manifest.origin(project.manifest)
    origin = start.origin(before) if start else _origin(history, before, adopted_up_to)
    history = history.begun(origin)
    kept = _kept(history)
    todo = [
        one.id
        for one in history.behind_baseline
        if not (one.id in kept and kept[one.id].is_replayed) and (every or not one.adopted)
    ]
    footprints = _replayed(settings, history, todo) if look and todo else {}
    found = {one: rules.findings(footprint, history.by_id[one]) for one, footprint in footprints.items()}
    entries = {**{one.id: _listed(one) for one in history.by_id.values()}, **kept}
    for revision, footprint in footprints.items():
        entries[revision] = _seen(entries[revision], history.by_id[revision], footprint, found[revision])
    if advise:
        listed = [one for one in history.by_id.values() if one.id not in found and (every or not one.adopted)]
        found |= {one.id: [Finding.parse(token) for token in entries[one.id].tokens] for one in listed}
    if start:
        entries[start.revision] = entries[start.revision]._replace(catalog=start.fingerprint)
    drawn = origin.adopted != before.adopted
    if look and drawn and not todo:
        entries[history.heads[0]] = _arrived(settings, history, entries[history.heads[0]])
    lines = [entries[revision]._replace(phase=history.by_id[revision].phase) for revision in history.by_id]
    places = _servable(settings, history, look=look, again=bool(todo))
    changed = _replace(project.manifest, manifest.render(lines, project.versions, origin, places))
    pairs = [(one, finding) for one in history.by_id.values() for finding in found.get(one.id, ())]
    hurting = tuple((one, finding) for one, finding in pairs if rules.accepted_in_file(one, finding) is None)
    return Sealed(
        revisions=len(entries),
        replayed=tuple(footprints),
        unseen=tuple(one.id for one in history.by_id.values() if not (one.adopted or entries[one.id].is_replayed)),
        changed=changed,
        found=hurting,
        unknown=tuple((one, name) for one in history.by_id.values() for name in rules.unknown_slugs(one)),
        not_seen=tuple(
            (history.by_id[one].file, what)
            for one, footprint in footprints.items()
            if (what := unseen.words(history.by_id[one].path, footprint))
        ),
        instead=_instead(history, hurting, advise=advise),
        out_of_order=history.out_of_order(footprints),
        history=history,
        drawn=drawn,
    )


def _are_few(hurting: Iterable[tuple[Revision, Finding]]) -> bool:
    return len({revision.id for revision, _ in hurting}) <= 5


def _instead(history: History, hurting: Sequence[tuple[Revision, Finding]], *, advise: bool) -> dict[str, str]:
    """Return what to write instead of each revision that blocks, loses something, or cannot be run again."""
    worst: dict[str, list[Finding]] = {}
    for revision, finding in hurting if advise or _are_few(hurting) else ():
        is_bad = finding.hazard.blocking or finding.hazard.destroys or finding.slug == "not-repeatable"
        worst.setdefault(revision.id, []).extend([finding] * is_bad)
    return {name: gate.rewritten(history.by_id[name], history, bad) for name, bad in worst.items() if bad}


def _servable(settings: Settings, history: History, *, look: bool, again: bool) -> tuple[str, ...]:
    """Return the versions on which this release can serve while post-deploy work is left, as sealed before unless `again`."""
    sealed = manifest.read(history.project.manifest)
    if not history.settling or not look:
        return ()
    if sealed and sealed.servable and not again and set(sealed.servable) <= set(history.settling):
        return sealed.servable
    server = scratch.server(settings)
    try:
        return servable.versions(server, history)
    except Failed as failed:
        raise does_not_run(failed, server, history) from failed


def _origin(history: History, origin: Origin, line: str | None) -> Origin:
    """Return where the history begins, with the line drawn where it is asked for, or for the first time."""
    if line == FIRST_SEAL:
        is_first = not history.project.manifest.exists() and any(
            Path(revision.file).stem != revision.id for revision in history.by_id.values()
        )
        return origin._replace(adopted=history.heads[0]) if is_first else origin
    if line is None:
        return origin
    return origin._replace(adopted=None if line == "base" else find(history, line))


def differences(project: Project, *, seen: bool = True) -> list[str]:
    """Return what keeps the manifest from being true, one sentence each; none when it is. Raises Stop.

    Unless `seen`, a revision that is listed only is good enough.
    """
    sealed = manifest.read(project.manifest)
    if sealed is not None and not baseline.is_sealed(project, sealed.origin):
        return ["migrations/baseline.sql is missing, or not what was sealed"]
    if sealed is not None and sealed.is_true(project.versions) and (not seen or sealed.is_judged):
        return []
    if not project.manifest.exists():
        return ["migrations/manifest.txt is missing"]
    if sealed is None:
        return ["migrations/manifest.txt was cut short, is in conflict, or was changed by hand"]
    history = _history(project)
    kept = _kept(history)
    sealed_lines = {entry.revision: entry for entry in sealed.entries}
    untrue = [f"{entry.file} is sealed, but gone" for entry in sealed.entries if entry.revision not in history.by_id]
    untrue += [
        sentence for one in history.by_id.values() if (sentence := _difference(one, sealed_lines.get(one.id), kept))
    ]
    if seen:
        untrue += [
            f"{one.file} is listed, but nobody has looked at what it does"
            for one in history.by_id.values()
            if one.id in kept and not (one.adopted or kept[one.id].is_replayed)
        ]
    lines = (kept.get(one.id, _listed(one)) for one in history.by_id.values())
    rendered = manifest.render(lines, project.versions, sealed.origin, sealed.servable)
    if not untrue and not sealed.is_first_format and project.manifest.read_text(encoding="utf-8") != rendered:
        untrue.append("the files were reformatted or renamed since they were sealed")
    return untrue


def _difference(revision: Revision, entry: SealedRevision | None, kept: Mapping[str, SealedRevision]) -> str | None:
    if entry is None:
        return f"{revision.file} is not sealed"
    if entry.checksum != checksum_of(revision.path):
        return f"{revision.file} means something else than when it was sealed"
    if entry.parents != revision.parents:
        return f"{revision.file} builds on {', '.join(revision.parents) or 'nothing'}, not on {entry.parent} as when it was sealed"
    if revision.id not in kept:
        return f"{revision.file} builds on one that means something else than when it was sealed"
    return None


def _history(project: Project) -> History:
    history = loader.history(project)
    if history.problem:
        raise history.problem
    return history


def _kept(history: History) -> dict[str, SealedRevision]:
    """Return the lines that still hold: the file means the same, and so does everything that it builds on."""
    sealed = manifest.entries(history.project.manifest)
    checksums = checksums_of(history.project, history.by_id.values())
    kept: dict[str, SealedRevision] = {}
    for revision in history.by_id.values():  # parents first
        entry = sealed.get(revision.id)
        holds = entry is not None and entry.checksum == checksums.get(revision.id) and entry.parents == revision.parents
        if entry is not None and holds and all(parent in kept for parent in revision.parents):
            kept[revision.id] = entry._replace(file=revision.file)
    return kept


def _listed(revision: Revision) -> SealedRevision:
    checksum = checksum_of(revision.path) or "-"
    return SealedRevision(revision.file, revision.id, ",".join(revision.parents) or "-", checksum, phase=revision.phase)


def _seen(
    entry: SealedRevision, revision: Revision, footprint: Footprint, findings: Iterable[Finding]
) -> SealedRevision:
    return entry._replace(
        catalog=footprint.after.fingerprint,
        previous="breaks" if rules.is_breaking(footprint, revision) else "works",
        hazards=manifest.listed(dict.fromkeys(finding.token for finding in findings)),
    )


def _arrived(settings: Settings, history: History, entry: SealedRevision) -> SealedRevision:
    """Return the line of the head with the schema that all revisions make; none of them is looked at on the way."""
    server = scratch.server(settings)
    try:
        return entry._replace(catalog=history_replay.final_catalog(server, history).fingerprint)
    except Failed as failed:
        raise does_not_run(failed, server, history) from failed


def _replayed(settings: Settings, history: History, todo: Iterable[str]) -> dict[str, Footprint]:
    ids = list(todo)
    server = scratch.server(settings)
    with Progress("replaying", len(ids)) as progress:
        try:
            found = parallel_replay.footprints(server, history, ids, progress.tell)
            return {footprint.revision: footprint for footprint in found}
        except Failed as failed:
            raise does_not_run(failed, server, history) from failed


def does_not_run(failed: Failed, server: Dsn, history: History) -> Stop:
    """Return the story of a revision that does not run from empty."""
    untouched = "not touched: this was a scratch database, which is gone"
    if isinstance(failed.error, Stop):
        return failed.error.replaced(database=untouched)
    cause = failed.cause
    code = getattr(cause, "pgcode", None)
    who = "PostgreSQL" if code else "Python"
    words = f"{failures.server_words(cause)} (SQLSTATE {code})" if code else f"{type(cause).__name__}: {cause}"
    needs_tables = baseline.would_help(code, history)
    is_lost = code == "42P01" and any(f'"{name}"' in words for name in own_tables())
    correction = f"{refusals.out_of_reach(failed.revision.file)}\n" if is_lost else "correct the file, "
    facts: list[Fact] = [
        ("file", f"migrations/versions/{failed.revision.file}"),
        (who, words),
        ("where", server.redacted()),
    ]
    if failed.is_servers_own:
        return Stop(
            "server-error",
            f"the server failed while {failed.revision.id} was tried",
            facts=facts,
            database=untouched,
            next_step=f"{failed.revision.file} is not to blame: see the server's log, or name another server:\n"
            f"DATABASE_URL=postgresql://... {gate.SEAL}",
        )
    return Stop(
        "replay-failed",
        f"{failed.revision.id} does not run on an empty database that the revisions before it have made",
        facts=facts,
        database=untouched,
        next_step=f"{baseline.ADVICE if needs_tables and not is_lost else ''}{correction}then:\n{gate.SEAL}\n"
        "where the scratch server only lacks a role or an extension, name one that has it:\n"
        f"DATABASE_URL=postgresql://... {gate.SEAL}\n"
        f"or list it without looking:\n{gate.SEAL} --no-replay",
    )


def _replace(file: Path, text: str) -> bool:
    """Write the manifest as a whole or not at all, and tell whether it changed."""
    before = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
    if text == before:
        return False
    unfinished = file.with_suffix(".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    os.replace(unfinished, file)
    return True
