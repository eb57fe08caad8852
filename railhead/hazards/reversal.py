"""Does the way back lead back, and forth again?

Tried in one transaction that is rolled back, where that may be; else for good, and then it may spoil the database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from alembic.runtime.migration import MigrationContext, RevisionStep
from psycopg2 import errorcodes

from railhead.hazards.scratch_session import NotTogether, Stage
from railhead.postgres import engine, failures
from railhead.postgres.connection import fetch_value
from railhead.schema import diff
from railhead.schema.catalog import Catalog, read

Step = Callable[[], RevisionStep]


class Reversal:
    """The way back of one revision, which has just been applied."""

    def __init__(self, stage: Stage, down: Step, up: Step, catalog: Callable[[], Catalog]) -> None:
        self._stage = stage
        self._down, self._up = down, up
        self._catalog = catalog

    def undone(self, before: Catalog, after: Catalog, *, leaves: bool) -> tuple[str | None, bool]:
        """Return why the way back does not lead back, and whether the database is spoilt now."""
        if not leaves:
            with suppress(NotTogether):
                return self._undone_together(before, after), False
        try:
            self._stage.run([self._down()])
        except Exception as error:
            return _no_way_back(error), bool(diff.difference(after, self._catalog()))
        why = _left(before, self._catalog())
        try:
            self._stage.run([self._up()])
        except Exception as error:
            return why or _not_again(error), True
        again = diff.difference(after, self._catalog())
        return why or _another(again), bool(again)

    def _undone_together(self, before: Catalog, after: Catalog) -> str | None:
        """Return why the way back does not lead back, tried in one transaction that is rolled back: nothing is spoilt.

        Raises NotTogether where that cannot be seen inside one transaction.
        """
        reasons: list[str | None] = []
        going_up = False

        def there_and_back(context: MigrationContext) -> Iterator[RevisionStep]:
            nonlocal going_up
            assert context.connection is not None
            driver = engine.driver_of(context.connection)
            self._stage.together = True
            yield self._down()
            reasons.append(_left(before, read(driver, often=True)))
            if reasons[0]:
                raise _Enough
            if fetch_value(driver, "SET CONSTRAINTS ALL IMMEDIATE; RESET ALL; SELECT pg_my_temp_schema() <> 0"):
                raise NotTogether  # a temporary table that goes with its transaction would be in the way
            going_up = True
            yield self._up()
            reasons.append(_another(diff.difference(after, read(driver, often=True))))
            raise _Enough

        try:
            self._stage.play(lambda _, context: there_and_back(context), whole=True)
        except _Enough:
            pass
        except Exception as error:
            if _needs_a_commit(error):
                raise NotTogether from error
            reasons.append(_not_again(error) if going_up else _no_way_back(error))
        finally:
            self._stage.together = False
        return next((reason for reason in reasons if reason), None)

    def is_back(self) -> bool:
        """Go back to before a revision, and tell whether that was possible."""
        try:
            self._stage.run([self._down()])
        except Exception:
            return False
        return True


class _Enough(Exception):
    """Everything was seen: rolls back what was tried."""


def _needs_a_commit(error: BaseException) -> bool:
    """Tell whether it is only for the one transaction that a way back and forth has failed."""
    cause = getattr(error, "orig", None) or error
    return isinstance(error, NotTogether) or getattr(cause, "pgcode", None) in _ONLY_TOGETHER


_ONLY_TOGETHER = {
    errorcodes.UNSAFE_NEW_ENUM_VALUE_USAGE,
    errorcodes.OBJECT_IN_USE,  # a table has pending events of triggers
    errorcodes.LOCK_NOT_AVAILABLE,  # a connection of the revision's own waits for this one
}


def _no_way_back(error: Exception) -> str:
    return f"its downgrade fails: {in_short(error)}"


def _not_again(error: Exception) -> str:
    return f"it cannot be applied again after its downgrade: {in_short(error)}"


def _another(changes: Sequence[diff.Change]) -> str | None:
    return f"applied again it gives another {changes[0].object}" if changes else None


def _left(before: Catalog, now: Catalog) -> str | None:
    """Return what a downgrade leaves behind, None when it is nothing."""
    changes = diff.difference(before, now)
    if not changes:
        return None
    more = f" and {len(changes) - 1} more" if len(changes) > 1 else ""
    return f"its downgrade leaves {changes[0].object} {changes[0].kind}{more}"


def in_short(error: BaseException) -> str:
    """Return what an error says, in one line."""
    cause = getattr(error, "orig", None) or error
    primary = getattr(getattr(cause, "diag", None), "message_primary", None)
    return " ".join(primary.split()) if primary else failures.server_words(cause).splitlines()[0]
