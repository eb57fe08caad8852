"""What has failed: what may be tried again, and what would only be refused again."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import psycopg2
import pytest
from psycopg2.extensions import connection as Connection

from railhead.dsn import Dsn
from railhead.execution import step_failure
from railhead.execution.failure_report import FailureReport
from railhead.execution.retry_policy import Cause
from railhead.history.planner import MigrationPlan
from railhead.settings import Settings
from railhead.state import ledger
from tests.project_tree import PROJECT


def report_of(dsn: Dsn) -> FailureReport:
    """Return the report of a run that asks this database, and has no way to go."""
    settings = Settings(database=dsn, migrate_database=dsn, project=PROJECT)
    return FailureReport(cast("MigrationPlan", None), settings, ledger.new_run("upgrade", settings))


def test_refused_change_is_a_lost_connection_where_the_server_follows_or_is_gone(
    database: Dsn, connection: Connection, tmp_path: Path
) -> None:
    """A role that only reads will only read tomorrow; a standby that cannot even be asked any more may be gone for good."""
    with pytest.raises(psycopg2.Error) as refused, connection.cursor() as cursor:
        cursor.execute("BEGIN READ ONLY; CREATE TABLE thing (id int)")
    assert step_failure.while_looking(refused.value, report_of(database), 0.0).cause is Cause.ERROR
    gone = report_of(database.with_(host=str(tmp_path)))
    assert step_failure.while_looking(refused.value, gone, 0.0).cause is Cause.ONLY_FOLLOWS
