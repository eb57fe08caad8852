"""How are many rows written without holding many?

In batches, each committed by itself, and resumed by the condition that a row that is done no longer meets.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from functools import partial
from typing import TextIO

from railhead.errors import ROLLED_BACK, Stop
from railhead.logs import log
from railhead.operations.autocommit import AutocommitSession, Table
from railhead.postgres.quoting import escaped, literal, quoted

_TELL_EVERY = 5.0
_SHOW_EVERY = 0.2
"""Seconds between two lines of log, and on a terminal between two looks of the line that changes."""

_PASSES = 5

_WINDOW = 64
"""Pages that are looked at in one step; twice as many each time when nothing in them matched, up to the widest."""
_WIDEST = 4096

_MOST_LAG = 2.0
_LOOK_AT_STANDBYS = 0.5
_PATIENCE_WITH_STANDBYS = 60.0
"""Seconds that a standby may be behind, between two looks, and for which one batch waits: a standby that is away catches up never."""

_LAGS = "SELECT application_name FROM pg_stat_replication WHERE replay_lag > make_interval(secs => :most)"
"""Standbys that are behind; only a superuser or a member of pg_monitor sees them."""

_TREE = (
    "tree (oid) AS (SELECT to_regclass({table})::oid"
    " UNION SELECT inhrelid FROM pg_inherits JOIN tree ON inhparent = tree.oid)"
)
"""A table and what inherits from it, its partitions for instance."""


class Backfill:
    """Walks a table from its first page to its last, and again for what was written behind its back meanwhile.

    A window of pages at a time (a TID range scan, PostgreSQL 14): no index is needed, and pages that are done are not read
    again. Nothing rests on the order in which rows are found. A row that somebody else changes at the same moment is left
    for the next pass.
    """

    def __init__(
        self,
        session: AutocommitSession,
        table: Table,
        assignment: str,
        where: str,
        batch: int,
        throttle: float,
        *,
        tell_every: float = _TELL_EVERY,
        screen: TextIO | None = None,
    ) -> None:
        """`screen` is where a terminal may be: standard error unless it is given."""
        self._session = session
        self._table = table
        self._assignment = assignment
        self._where = where
        self._batch = batch
        self._throttle = throttle
        self._began = self._told = time.monotonic()
        self._done = 0
        self._screen = screen or sys.stderr
        self._is_terminal = self._screen.isatty() and log.isEnabledFor(logging.INFO)
        self._tell_every = _SHOW_EVERY if self._is_terminal and tell_every else tell_every

    def run(self) -> None:
        """Return when no row matches any more."""
        try:
            ended = any(not self._pass(number) for number in range(1, _PASSES + 1))
        finally:
            self._clear()
        if not ended:
            log.warning("backfill of %s: new rows keep matching; something still writes them", self._table.name)
        log.info("backfill of %s: %s", self._table.name, self._rate())

    def _pass(self, number: int) -> int:
        """Go once through the table and all its partitions; return how many rows matched."""
        relations = self._relations()
        total, behind, matched = sum(pages for _, pages in relations) or 1, 0, 0
        for relation, pages in relations:
            for page, rows in self._walk(relation, pages):
                matched += rows
                self._tell(min((behind + page) / total, 1.0) if number == 1 else 1.0)
            behind += pages
        return matched

    def _relations(self) -> list[tuple[str, int]]:
        """Return the table, or its partitions, each with its size in pages. Read-only."""
        relations = self._session.rows(
            f"WITH RECURSIVE {_TREE.format(table=':table')}"
            " SELECT oid::regclass::text, pg_relation_size(oid) / current_setting('block_size')::int"
            " FROM tree JOIN pg_class USING (oid) WHERE relkind = 'r' ORDER BY oid",
            table=str(self._table),
        )
        return [(str(name), int(str(pages))) for name, pages in relations]

    def _walk(self, relation: str, pages: int) -> Iterator[tuple[int, int]]:
        """Go through one relation; yield after each step the page that is reached and how many rows matched.

        The first step is taken in an empty one too: what PostgreSQL refuses shall not wait for the first row.
        """
        page, window = 0, _WINDOW
        while page < max(pages, 1):
            began = time.monotonic()
            rows = self._session.short(partial(self._step, relation, page, page + window)) or 0
            if rows < self._batch:
                page += window
                window = min(window * 2, _WIDEST) if not rows else _WINDOW
            yield min(page, pages), rows
            if rows:
                self._give_way(time.monotonic() - began)

    def _step(self, relation: str, page: int, end: int) -> int:
        """Write one batch of what matches from `page` to before `end`; return how many rows that were."""
        rows = f"ONLY {relation} AS {quoted(self._table.name)}"
        update = f"UPDATE {self._table.name} SET {self._assignment} WHERE {self._where}, {self._batch} rows at a time"
        about = update.replace("/*", "/ *").replace("*/", "* /")
        sql = (
            f"/* {about} */ WITH chosen AS MATERIALIZED (SELECT ctid AS place FROM {rows} WHERE {_between(page, end)}"
            f" AND ({self._where}) LIMIT {self._batch}),"
            f" changed AS (UPDATE {rows} SET {self._assignment} WHERE ctid = ANY (ARRAY(SELECT place FROM chosen))"
            f" AND ({self._where}) RETURNING ({self._where}) AS again)"
            " SELECT (SELECT count(*) FROM chosen), count(*), count(*) FILTER (WHERE again) FROM changed"
        )
        [(written, changed, again)] = [[int(str(number)) for number in row] for row in self._session.rows(escaped(sql))]
        if again:
            raise self._endless(again)
        self._done += changed
        return written

    def _give_way(self, seconds: float) -> None:
        """Rest after a batch that took so many seconds, and until the standbys that are seen have caught up, for a while at most."""
        time.sleep(max(self._throttle, seconds * self._session.rest))
        deadline = time.monotonic() + _PATIENCE_WITH_STANDBYS
        while self._session.rest and time.monotonic() < deadline and self._session.rows(_LAGS, most=_MOST_LAG):
            time.sleep(_LOOK_AT_STANDBYS)

    def _tell(self, share: float) -> None:
        now = time.monotonic()
        if now - self._told < self._tell_every:
            return
        self._told = now
        left = (now - self._began) * (1 - share) / share if share else 0.0
        line = f"backfill of {self._table.name}: {self._rate()}, {share * 100:.0f} %, {left:.0f} s left"
        if self._is_terminal:
            print(f"\r\033[K{line[:78]}", end="", file=self._screen, flush=True)
        else:
            log.info("%s", line)

    def _clear(self) -> None:
        """Take the line that changes off the terminal."""
        if self._is_terminal:
            print("\r\033[K", end="", file=self._screen, flush=True)

    def _rate(self) -> str:
        seconds = time.monotonic() - self._began
        return f"{self._done} rows in {seconds:.1f} s, {self._done / max(seconds, 0.001):.0f} rows/s"

    def _endless(self, again: int) -> Stop:
        return Stop(
            "backfill-endless",
            f"the backfill of {self._table.name} would never end",
            facts=[("where", self._where), ("set", self._assignment), ("still true", f"for {again} rows just written")],
            database="this batch was rolled back",
            next_step="write a condition that no longer holds for a row that is done, for instance `... IS NULL`",
            exit_code=ROLLED_BACK,
        )


def _between(page: int, end: int) -> str:
    return f"ctid >= '({page},0)' AND ctid < '({end},0)'"


def script(table: Table, assignment: str, where: str, batch: int, throttle: float) -> str:
    """Return the same walk as one block that commits after each batch."""
    alias, condition = _formatted(quoted(table.name)), _formatted(where)
    return f"""\
DO $backfill$
DECLARE relation regclass; page bigint; pages bigint; found bigint; changed bigint;
BEGIN
  FOR pass IN 1..{_PASSES} LOOP
    changed := 0;
    FOR relation IN
      WITH RECURSIVE {_TREE.format(table=literal(str(table)))}
      SELECT oid FROM tree JOIN pg_class USING (oid) WHERE relkind = 'r'
    LOOP
      page := 0;
      pages := pg_relation_size(relation) / current_setting('block_size')::int;
      WHILE page < pages LOOP
        EXECUTE format($update$UPDATE ONLY %1$s AS {alias} SET {_formatted(assignment)} WHERE ({condition})
          AND ctid = ANY (ARRAY(SELECT ctid FROM ONLY %1$s AS {alias} WHERE ({condition})
          AND ctid >= %2$L AND ctid < %3$L LIMIT {batch}))$update$,
          relation, format('(%s,0)', page), format('(%s,0)', page + {_WINDOW}));
        GET DIAGNOSTICS found = ROW_COUNT;
        COMMIT;
        changed := changed + found;
        IF found > 0 THEN PERFORM pg_sleep({throttle}); END IF;
        IF found < {batch} THEN page := page + {_WINDOW}; END IF;
      END LOOP;
    END LOOP;
    EXIT WHEN changed = 0;
  END LOOP;
END $backfill$"""


def _formatted(sql: str) -> str:
    """Return SQL for PostgreSQL's format(), which reads percent signs."""
    return sql.replace("%", "%%")
