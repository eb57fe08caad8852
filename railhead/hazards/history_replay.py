"""How does a replay get through a whole history?

On one scratch database as long as nothing is spoilt, else on a copy of one that only goes forwards. No database that is in use is
touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager

from alembic.config import Config

from railhead.devserver import scratch
from railhead.dsn import Dsn
from railhead.hazards.footprint import Footprint, Statement
from railhead.hazards.loss import Loss
from railhead.hazards.replay import Replay, loaded
from railhead.history import loader
from railhead.history.graph import History, Revision
from railhead.schema.catalog import Catalog


def footprints(
    server: Dsn, history: History, ids: Iterable[str], tell: Callable[[str], None], config: Config | None = None
) -> Iterator[Footprint]:
    """Yield the footprint of each wanted revision, in the order of the history. Changes scratch databases only.

    `tell` gets the id of each revision before it is replayed; `config` names another folder of revisions than the
    project's. Raises Failed when a revision does not run from empty, psycopg2.Error where there may be no scratch database.
    """
    todo = set(ids)
    with ExitStack() as stack:
        course = _Course(server, history, config or loader.config(history.project), stack)
        for revision in history.behind_baseline:
            if revision.id in todo:
                todo.remove(revision.id)
                tell(revision.id)
                yield course.examine(revision)
            if not todo:
                return


def build(dsn: Dsn, history: History) -> None:
    """Bring an empty scratch database to head. Changes the schema. Raises Failed."""
    with Replay(dsn, loader.config(history.project)) as replay:
        replay.begin(history)
        replay.up(history.behind_baseline)


def final_catalog(server: Dsn, history: History) -> Catalog:
    """Return the catalog that all revisions make of an empty database. Changes a scratch database only. Raises Failed."""
    with scratch.made_on(server) as dsn, Replay(dsn, loader.config(history.project)) as replay:
        replay.begin(history)
        replay.up(history.behind_baseline)
        return replay.catalog()


def taken_back(
    server: Dsn, history: History, versions: Iterable[str], back: Sequence[str]
) -> tuple[list[Loss], list[Statement]]:
    """Return what goes when these revisions are taken back, in this order, from where all up to `versions` are applied.

    Changes a scratch database only. Raises Failed, psycopg2.Error where there may be no scratch database.
    """
    applied = history.ancestors(versions)
    with scratch.made_on(server) as dsn, Replay(dsn, loader.config(history.project)) as replay:
        replay.begin(history)
        replay.up([revision for revision in history.behind_baseline if revision.id in applied])
        return replay.take_back([history.by_id[revision] for revision in back])


def catalogs(server: Dsn, history: History) -> Iterator[tuple[str, Catalog]]:
    """Yield the catalog after each revision from the baseline on, oldest first. Changes a scratch database only. Raises Failed."""
    with scratch.made_on(server) as dsn, Replay(dsn, loader.config(history.project)) as replay:
        replay.begin(history)
        if history.origin.baseline:
            yield history.origin.baseline, replay.catalog()
        for revision in history.behind_baseline:
            replay.up([revision])
            yield revision.id, replay.catalog()


class _Course:
    """The way of one replay through the history, on one scratch database after another where something is spoilt."""

    def __init__(self, server: Dsn, history: History, config: Config, stack: ExitStack) -> None:
        self._server = server
        self._history = history
        self._order = history.behind_baseline
        self._config = config
        self._script = loaded(config)
        self._stack = stack
        self._replay: Replay | None = None
        self._done = 0
        """How many revisions the database at hand has."""
        self._plain: Dsn | None = None
        self._plain_done = 0

    def examine(self, revision: Revision) -> Footprint:
        """Return the footprint of a revision, once all before it are applied. Raises Failed."""
        index = self._order.index(revision)
        replay = self._replay or self._begin()
        replay.up(self._order[self._done : index])
        self._done = index + 1
        footprint, spoilt = replay.examine(revision, lambda: self._before(index))
        if spoilt:  # what it left behind would be in the way of the next one
            self._replay = None
            replay.close()
        return footprint

    def _begin(self) -> Replay:
        """Return a database that all revisions so far have made: of nothing, or a copy of one that only goes forwards."""
        template = self._caught_up(self._done) if self._done else scratch.EMPTY
        dsn = self._stack.enter_context(scratch.made_on(self._server, template))
        self._replay = self._stack.enter_context(Replay(dsn, self._config, self._script))
        if not self._done:
            self._replay.begin(self._history)
        return self._replay

    @contextmanager
    def _before(self, index: int) -> Iterator[Replay]:
        """Give a copy of a database that has all revisions before this one."""
        with (
            scratch.made_on(self._server, self._caught_up(index)) as dsn,
            Replay(dsn, self._config, self._script) as replay,
        ):
            yield replay

    def _caught_up(self, done: int) -> str:
        """Return the name of a database that has so many revisions, and that nobody has gone back in."""
        is_new = self._plain is None
        if self._plain is None:
            self._plain = self._stack.enter_context(scratch.made_on(self._server))
        with Replay(self._plain, self._config, self._script) as replay:
            if is_new:
                replay.begin(self._history)
            replay.up(self._order[self._plain_done : done])
        self._plain_done = done
        return self._plain.parameters()["dbname"]
