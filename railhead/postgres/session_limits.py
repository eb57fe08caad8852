"""What keeps a session from freezing traffic, and from outliving its client?"""

from __future__ import annotations

from railhead.settings import Settings

TCP = {
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "20000",
}
"""With these the server notices within about 25 s that a client's host has vanished; milliseconds for the last, else seconds."""


HAS_REPLICAS = "current_setting('synchronous_standby_names') <> ''"
IS_REPLICATED = f"current_setting('synchronous_commit') IN ('on', 'remote_write', 'remote_apply') AND {HAS_REPLICAS}"
"""An SQL condition: a COMMIT waits for another server, with all its locks and without any limit."""

COMMIT_HERE = f"SELECT set_config('synchronous_commit', 'local', true) WHERE {IS_REPLICATED}"
"""Said in a transaction that shall not wait at its end."""


def statements(local: str, version: int, lock_timeout: float, settings: Settings, *, replicated: bool = False) -> str:
    """Return the statements that keep a migration from freezing traffic and from outliving its client.

    `local` is `LOCAL ` where they shall last for one transaction, else empty; `version` is the server's, like 180006; `replicated`:
    IS_REPLICATED holds. What is committed then is confirmed afterwards, without a lock.
    `client_connection_check_interval` (PostgreSQL 14) ends a statement whose client has died; the server must be able
    to notice, which it only is on Linux. A client whose whole machine has vanished is noticed by TCP only: without its
    limits the server would keep the tables locked for a quarter of an hour, or for two hours if it has nothing to send.
    One that is stopped, and still has its connection, asks nothing: for that there is `idle_in_transaction_session_timeout`.
    """
    limits = [
        f"SET {local}lock_timeout = {milliseconds(lock_timeout)}",
        f"SET {local}statement_timeout = '{round(settings.statement_timeout * 1000)}ms'",
        f"SET {local}idle_in_transaction_session_timeout = {milliseconds(settings.idle_timeout)}",
        *(f"SET {local}{name} = {value}" for name, value in TCP.items()),
    ]
    if version >= 140000:
        scope = "true" if local else "false"
        limits.append(
            f"SELECT set_config('client_connection_check_interval', '500ms', {scope}) WHERE version() LIKE '%linux%'"
        )
    if replicated:
        limits.append(f"SET {local}synchronous_commit = local")
    if version >= 170000:
        limits.append(f"SET {local}transaction_timeout = 0")
    return "; ".join(limits)


def milliseconds(seconds: float) -> str:
    """Return a timeout as SQL writes it, at least 1 ms: 0 would mean for ever."""
    return f"'{max(1, round(seconds * 1000))}ms'"
