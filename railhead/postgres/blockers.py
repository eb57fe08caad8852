"""Who is in the way?"""

from __future__ import annotations

from typing import NamedTuple

from psycopg2.extensions import connection as Connection

from railhead.postgres.connection import fetch_all
from railhead.postgres.quoting import literal, quoted_name


class Blocker(NamedTuple):
    """A session that stands in the way. `age` is in seconds, since its transaction (or else its session) began.

    A prepared transaction has no session: its `pid` is 0, as in pg_blocking_pids, and its `application` is its name.
    """

    pid: int
    application: str
    state: str
    age: float
    query: str
    role: str = ""
    is_hidden: bool = False
    """Whether what it does is another role's, and not shown to this one."""
    may_end: bool = True
    """Whether this role may end it."""

    @property
    def end(self) -> str:
        """Return the statement that ends it, and who may say it where this role may not. A prepared transaction keeps what it has done."""
        if not self.pid:
            return f"COMMIT PREPARED {literal(self.application)};  -- ROLLBACK PREPARED throws away what it has done"
        who = "" if self.may_end else f"  -- as {quoted_name(self.role)}, or as an administrator: this role may not"
        return f"SELECT pg_terminate_backend({self.pid});{who}"

    def __str__(self) -> str:
        if not self.pid:
            return f"prepared transaction {self.application}, for {self.age:.0f} s"
        name = f", {self.application}" if self.application else ""
        if self.is_hidden:
            return f"pid {self.pid}{name}, of the role {self.role}: what it does is shown to that role and to pg_read_all_stats only"
        return f"pid {self.pid}{name}, {self.state} for {self.age:.0f} s: {self.query}"


def blockers_of(connection: Connection, pid: int) -> list[Blocker]:
    """Return the sessions that `pid` waits for right now, oldest first. Read-only."""
    return find_blockers(connection, _WAITED_FOR, (pid, pid, pid))


def find_blockers(connection: Connection, query: str, values: tuple[object, ...] | None = None) -> list[Blocker]:
    """Return what a query like SESSIONS finds. Read-only."""
    return [Blocker(*row) for row in fetch_all(connection, query, values)]  # type: ignore[arg-type]  # its columns


SESSIONS = """
SELECT pid, coalesce(application_name, ''), coalesce(state, 'working'),
       extract(epoch FROM clock_timestamp() - coalesce(xact_start, backend_start, clock_timestamp()))::float8,
       left(regexp_replace(coalesce(query, ''), '\\s+', ' ', 'g'), 60), coalesce(usename, ''),
       state IS NULL AND query = '<insufficient privilege>',
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
         OR (usesysid IS NOT NULL AND NOT (SELECT rolsuper FROM pg_roles WHERE oid = usesysid)
             AND (pg_has_role(usesysid, 'USAGE') OR pg_has_role('pg_signal_backend', 'USAGE')))
  FROM pg_stat_activity
"""
"""A query for the fields of a Blocker, for each session."""

OWNERS_OF_TABLES = f"""
{SESSIONS}
 WHERE pid IN (SELECT pid FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND locktype = 'relation'
                  AND database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND relation >= 16384)
 ORDER BY xact_start NULLS LAST
"""
"""The same for who has a table of this database for himself, oldest first."""

_WAITED_FOR = f"""
{SESSIONS}
 WHERE pid = ANY (pg_blocking_pids(%s))
UNION ALL
SELECT 0, gid, 'prepared', extract(epoch FROM clock_timestamp() - prepared)::float8, '', owner::text, false, true
  FROM pg_prepared_xacts p WHERE 0 = ANY (pg_blocking_pids(%s)) AND EXISTS (
       SELECT FROM pg_locks own JOIN pg_locks held USING (virtualtransaction), pg_locks wanted
        WHERE own.transactionid = p.transaction AND own.pid IS NULL AND held.pid IS NULL
          AND wanted.pid = %s AND NOT wanted.granted
          AND (wanted.transactionid = p.transaction OR (wanted.database, wanted.relation) = (held.database, held.relation)))
ORDER BY 4 DESC
"""
