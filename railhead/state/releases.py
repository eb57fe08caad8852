"""Which releases use this database now, and for how long has this one served? Read-only; psycopg2 only."""

from __future__ import annotations

from typing import NamedTuple

from psycopg2.extensions import connection as Connection

from railhead.postgres.connection import fetch_all, is_pooled
from railhead.settings import Settings


class Use(NamedTuple):
    """Who still uses a database, seen from a release that wants to take something away."""

    others: tuple[str, ...]
    """Sessions of other releases, for a sentence: `release 3f2a on web-1`."""
    served: float
    """Seconds for which somebody has been waiting to finish the work of this release."""
    is_certain: bool
    """Whether the sessions of other releases would be seen: not behind a pooler, nor when nobody knows which release this is."""

    def left(self, settings: Settings) -> float:
        """Return the seconds that this release has still to serve; 0 once it has served for long enough."""
        return max(0.0, settings.contract_after - self.served)

    def hindrance(self, settings: Settings) -> str | None:
        """Return what is still waited for before something is taken away; None when nothing is."""
        left = self.left(settings)
        time = f"this release has served for {left:.0f} s more (MIGRATE_CONTRACT_AFTER)" if left else ""
        gone = f"{', '.join(self.others)} {'is' if len(self.others) == 1 else 'are'} gone" if self.others else ""
        return f"waits until {' and '.join(filter(None, (gone, time)))}" if gone or time else None


def in_use(connection: Connection, settings: Settings) -> Use:
    """Return who uses the database of this connection. Read-only."""
    release = settings.short_release
    finishers = fetch_all(
        connection, _AGE_OF_FINISHERS, {"ours": settings.session_of("finish"), "prefix": f"railhead finish {release} @"}
    )
    is_certain = release is not None and not is_pooled(connection)
    others = fetch_all(connection, _OTHERS, {"ours": f"railhead serve {release} @"}) if is_certain else []
    return Use(
        others=tuple(f"release {other} on {replica}" for other, replica in others),
        served=float(str(finishers[0][0] or 0)),
        is_certain=is_certain,
    )


_AGE_OF_FINISHERS = """
SELECT max(extract(epoch FROM clock_timestamp() - backend_start)) FROM pg_stat_activity
 WHERE datname = current_database() AND (application_name = %(ours)s OR starts_with(application_name, %(prefix)s))
"""
_OTHERS = """
SELECT DISTINCT split_part(split_part(application_name, ' @ ', 1), ' ', 3), split_part(application_name, ' @ ', 2)
  FROM pg_stat_activity
 WHERE datname = current_database() AND application_name LIKE 'railhead serve %% @ %%'
   AND NOT starts_with(application_name, %(ours)s) ORDER BY 1, 2
"""
