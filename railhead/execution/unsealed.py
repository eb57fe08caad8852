"""What would revisions do that nobody has looked at, on a database in production?

They are judged now, on an embedded server beside the application, where its programs are installed; never on the server in production,
and only where the files plainly reach nothing else. Where that is not possible they are refused as long as there is a large table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import psycopg2

from railhead.devserver import scratch, shared
from railhead.errors import Fact, Stop
from railhead.hazards import gate, history_replay, purity, rules, table_sizes
from railhead.hazards.footprint import Footprint
from railhead.hazards.replay import Failed
from railhead.history.graph import History, Revision
from railhead.history.manifest import SealedRevision, listed
from railhead.logs import log
from railhead.postgres import failures
from railhead.settings import Settings

JUDGED_WITHIN = 30.0
"""Seconds that a start gives to judging: nobody serves meanwhile."""

_SHOWN = 5


class _NotJudged(Exception):
    """Nobody can find out here what a revision does."""


def judged(
    pending: Sequence[Revision],
    lines: gate.Sealed,
    history: History,
    settings: Settings,
    large_tables: Callable[[], Mapping[str, float]],
    place: str,
) -> gate.Sealed:
    """Return the sealed lines, and in production such lines of what is not sealed. Changes scratch databases only.

    Raises Stop(`unsealed`) when nobody could judge it, a table is large and MIGRATE_HAZARDS refuses. `place` is where the database is.
    """
    unsealed = [revision for revision in pending if revision.id not in lines and not revision.adopted]
    if not unsealed or not settings.production or settings.hazards == "ignore":
        return lines
    try:
        lines_seen = _looked_at(unsealed, history, settings)
    except _NotJudged as why:
        large = large_tables()
        if not large:
            return lines
        if settings.hazards == "refuse":
            raise _refused(unsealed, large, settings, str(why), place) from why
        log.warning("%s, and it runs all the same (MIGRATE_HAZARDS=%s)", _headline(unsealed), settings.hazards)
        return lines
    log.info("judged at start, because it is not sealed: %s", ", ".join(lines_seen))
    return {**lines, **lines_seen}


def _looked_at(unsealed: Sequence[Revision], history: History, settings: Settings) -> gate.Sealed:
    last = max(list(history.by_id).index(one.id) for one in unsealed)
    for one in list(history.by_id.values())[: last + 1]:
        if not purity.keeps_to_its_database(one.path):
            raise _NotJudged(f"migrations/versions/{one.file} might reach more than its database when it is tried")
    deadline = time.monotonic() + JUDGED_WITHIN

    def tell(revision: str) -> None:
        if time.monotonic() > deadline:
            raise _NotJudged(f"it would take longer than {JUDGED_WITHIN:g} s to try them ({revision} is next)")

    try:
        server = scratch.server(settings)
        found = history_replay.footprints(server, history, [one.id for one in unsealed], tell)
        return {one.revision: _line(history.by_id[one.revision], one) for one in found}
    except Stop as stop:
        raise _NotJudged(f"no revision is tried on a server in production, and here {stop.headline}") from stop
    except Failed as failed:
        raise _NotJudged(failed.told) from failed
    except psycopg2.Error as error:
        raise _NotJudged(f"there is no scratch database to try it on: {failures.server_words(error)}") from error
    finally:
        shared.leave(settings.project.data)  # for which nobody else here has a use


def _line(revision: Revision, footprint: Footprint) -> SealedRevision:
    """Return what `seal` would write of it."""
    tokens = dict.fromkeys(finding.token for finding in rules.findings(footprint, revision))
    return SealedRevision(revision.file, revision.id, "-", "-", footprint.after.fingerprint, "-", listed(tokens))


def _refused(
    unsealed: Sequence[Revision], large: Mapping[str, float], settings: Settings, why: str, place: str
) -> Stop:
    tables = [f"{table}, {table_sizes.count(rows)}" for table, rows in large.items()]
    shown = [*tables[:_SHOWN], *([f"and {len(tables) - _SHOWN} more"] if len(tables) > _SHOWN else [])]
    facts: list[Fact] = [("file", f"migrations/versions/{revision.file}") for revision in unsealed[:_SHOWN]]
    return Stop(
        "unsealed",
        f"{_headline(unsealed)}, and there are large tables",
        facts=[
            *facts,
            ("large", "\n".join(shown)),
            ("from", f"{settings.large_table:,} rows on (MIGRATE_LARGE_TABLE)"),
            ("because", why),
        ],
        database=f"unchanged, {place}",
        next_step=f"where you develop, let it be judged, commit migrations/manifest.txt, and deploy again:\n{gate.SEAL}\n"
        "or let it run, whatever it does:  MIGRATE_HAZARDS=warn",
    )


def _headline(unsealed: Sequence[Revision]) -> str:
    names = [revision.id for revision in unsealed]
    more = f" and {len(names) - 1} more" if len(names) > 1 else ""
    return f"nobody has looked at what {names[0]}{more} would block"
