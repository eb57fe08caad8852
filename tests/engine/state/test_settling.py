"""Post-deploy work: what a start leaves for later, what it does not, and who does it then."""

from __future__ import annotations

import json
from contextlib import closing

import psycopg2
import pytest

from railhead.dsn import Dsn
from tests.databases import rows_of
from tests.engine.state.test_states import READY, SERVE
from tests.forked_tree import Workshop
from tests.processes import eventually
from tests.project_tree import MIGRATE

POST = 'phase = "post-deploy"\n'
INDEX = "op.create_index_concurrently('ix_note', 'task', ['title'])"
HEAD = "0002_add_task_due_on"


def late(
    workshop: Workshop, name: str = "0003_index", up: str = INDEX, down: str = "pass", *, after: str = HEAD
) -> None:
    """Write a post-deploy revision."""
    workshop.write(name, up, down, after=after, extra=POST)


@pytest.fixture
def settling(workshop: Workshop) -> Workshop:
    """A project whose database is at its second revision; the third is post-deploy work, an index, and everything is sealed."""
    assert workshop.migrate().returncode == 0
    late(workshop, down="op.drop_index_concurrently('ix_note', 'task')")
    assert workshop.migrate("seal").returncode == 0
    return workshop


def state_of(workshop: Workshop) -> dict[str, object]:
    """Return what `status --json` says."""
    told: dict[str, object] = json.loads(workshop.migrate("status", "--json").stdout)
    return told


def version_of(dsn: Dsn) -> str:
    """Return the database's version."""
    return str(rows_of(dsn, "SELECT version_num FROM alembic_version")[0][0])


def test_a_database_with_post_deploy_work_left_is_served(settling: Workshop, database: Dsn) -> None:
    """It is `settling`: status, wait, `/readyz`, a start that checks and one that migrates all say that it can be served; `finish` does the rest."""
    seen = state_of(settling)
    assert (seen["state"], seen["flags"]) == ("settling", [])
    assert [(one["revision"], one["phase"]) for one in seen["pending"]] == [("0003_index", "post-deploy")]  # type: ignore[attr-defined]
    assert "settling: all that this release needs is there" in settling.migrate("status").stdout
    assert settling.migrate("status", "--exit-code").returncode == 0
    assert settling.migrate("wait", MIGRATE_WAIT_LOCK="0").returncode == 0
    assert settling.migrate("wait", "--head", MIGRATE_WAIT_LOCK="0").returncode == 1
    assert settling.run(*READY, MIGRATE_ON_START="off").stdout.splitlines()[-1] == "200 settling"
    assert settling.run(*SERVE, MIGRATE_ON_START="check").returncode == 0
    started = settling.run(*SERVE, MIGRATE_POST_DEPLOY="later")
    assert f"the database can be served, with post-deploy work left, {HEAD}" in started.stdout
    assert version_of(database) == HEAD
    finished = settling.migrate("finish")
    assert (finished.returncode, finished.stdout) == (0, "finish: 0003_index\n")
    assert state_of(settling)["state"] == "current"
    assert settling.migrate("finish").stdout == "finish: nothing to do, the database is at head\n"
    assert settling.migrate("wait", "--head").returncode == 0


def test_a_start_that_nobody_finishes_for_does_everything(settling: Workshop, database: Dsn) -> None:
    """Without a process beside it, a start does post-deploy work before it serves."""
    assert settling.run(*SERVE).returncode == 0
    assert version_of(database) == "0003_index"


def test_alembic_typed_by_hand_does_everything(settling: Workshop, database: Dsn) -> None:
    """`alembic upgrade head` does what it says, and `downgrade` leads back to where work is left."""
    assert settling.alembic("upgrade", "head").returncode == 0
    assert version_of(database) == "0003_index"
    assert settling.alembic("downgrade", "-1").returncode == 0
    assert state_of(settling)["state"] == "settling"


def test_an_empty_database_gets_everything(workshop: Workshop, database: Dsn) -> None:
    """Nobody serves from an empty database meanwhile, and there is nothing to wait for."""
    late(workshop)
    assert workshop.run(*SERVE, MIGRATE_POST_DEPLOY="later").returncode == 0
    assert version_of(database) == "0003_index"


def test_a_start_stops_behind_the_last_pre_deploy_revision(settling: Workshop, database: Dsn) -> None:
    """What is post-deploy before a pre-deploy revision is done with it, and `seal` and `plan` point that out; what is behind waits."""
    settling.write("0004_note", 'op.add_column("task", sa.Column("note", sa.Text()))', after="0003_index")
    late(settling, "0005_other", "op.create_index_concurrently('ix_other', 'task', ['note'])", after="0004_note")
    told = "0004_note is pre-deploy and builds on 0003_index"
    assert told in settling.migrate("plan").stdout
    started = settling.run(*SERVE, MIGRATE_POST_DEPLOY="later")
    assert "upgrade: 2 revisions, the database is at 0004_note" in started.stdout
    assert "behind the open port: 0005_other" in started.stdout
    assert version_of(database) == "0004_note"


def test_seal_points_out_what_one_release_brings_in_the_wrong_order(workshop: Workshop) -> None:
    """A pre-deploy revision on top of a post-deploy one that is as new."""
    late(workshop)
    workshop.write("0004_note", 'op.add_column("task", sa.Column("note", sa.Text()))', after="0003_index")
    assert "0004_note is pre-deploy and builds on 0003_index" in workshop.migrate("seal").stdout
    assert "0004_note" not in workshop.migrate("seal").stdout


def test_what_the_models_need_is_not_left_for_later(workshop: Workshop, database: Dsn) -> None:
    """A column that the models have and post-deploy work adds is added before the application serves; the log says why."""
    assert workshop.migrate().returncode == 0
    late(workshop, "0003_note", 'op.add_column("task", sa.Column("note", sa.Text()))')
    models = workshop.root / "models.py"
    models.write_text(models.read_text().replace("    due_on:", "    note: Mapped[str | None]\n    due_on:"))
    assert workshop.migrate("seal").returncode == 0
    assert state_of(workshop)["state"] == "behind"
    started = workshop.run(*SERVE, MIGRATE_POST_DEPLOY="later")
    assert (
        "0003_note is post-deploy work, and this release needs what it makes: column task.note is gone"
        in started.stdout
    )
    assert version_of(database) == "0003_note"


def test_what_breaks_the_previous_release_waits_until_that_is_gone(settling: Workshop, database: Dsn) -> None:
    """`finish` looks at the sessions of other releases, and status says what is waited for; `--now` does not wait."""
    assert settling.migrate("finish").returncode == 0
    late(settling, "0004_drop", "op.drop_column('task', 'due_on')", after="0003_index")
    models = settling.root / "models.py"
    models.write_text("\n".join(line for line in models.read_text().splitlines() if "due_on" not in line) + "\n")
    accepted = settling.versions / "0004_drop.py"
    accepted.write_text(
        accepted.read_text().replace(POST, f'{POST}accepted_hazards = {{"destroys-data": "nobody reads it"}}\n')
    )
    assert settling.migrate("seal").returncode == 0
    new = {"APP_RELEASE": "new", "MIGRATE_CONTRACT_AFTER": "0s"}
    with closing(psycopg2.connect(database, application_name="railhead serve old @ web-1")):
        place = "0004_drop breaks the previous release: waits until release old on web-1 is gone"
        assert place in settling.migrate("status", **new).stdout
        finishing = settling.start(*MIGRATE, "finish", **new)
        eventually(lambda: place in finishing.stderr, within=30, what="somebody is waited for")
        assert version_of(database) == "0003_index"
    psycopg2.connect(database, application_name="railhead serve new @ web-2").close()
    assert finishing.wait() == 0
    assert version_of(database) == "0004_drop"


def test_finish_says_whom_it_breaks_when_it_does_not_wait(settling: Workshop, database: Dsn) -> None:
    """`finish --now` goes on beside a session of another release."""
    drop = "breaking = True\n"
    file = settling.versions / "0003_index.py"
    file.write_text(file.read_text().replace(POST, POST + drop))
    with closing(psycopg2.connect(database, application_name="railhead serve old @ web-1")):
        finished = settling.migrate("finish", "--now", APP_RELEASE="new")
    assert finished.returncode == 0
    assert "0003_index breaks the previous release; release old on web-1" in finished.stderr


def test_failed_post_deploy_work_is_told_and_the_application_serves(settling: Workshop, database: Dsn) -> None:
    """Status has the flag `unfinished`, doctor says what PostgreSQL said, and a start serves all the same."""
    late(settling, up="op.create_index_concurrently('ix_note', 'task', ['absent'])")
    assert settling.migrate("finish").returncode != 0
    seen = state_of(settling)
    assert (seen["state"], "unfinished" in seen["flags"]) == ("settling", True)  # type: ignore[operator]
    doctor = settling.migrate("doctor").stdout
    assert "[unfinished]" in doctor
    assert 'column "absent" does not exist' in doctor
    assert settling.run(*SERVE, MIGRATE_POST_DEPLOY="later").returncode == 0
    assert version_of(database) == HEAD


def test_finish_leaves_pre_deploy_work_to_a_start(settling: Workshop) -> None:
    """`finish` on a database that this release cannot serve yet refuses, with what to type."""
    settling.write("0004_note", 'op.add_column("task", sa.Column("note", sa.Text()))', after="0003_index")
    refused = settling.migrate("finish")
    assert refused.returncode == 3
    assert "python utils/migrate.py upgrade" in refused.stderr


@pytest.mark.parametrize("phase", ['"later"', "True", "None", '"post_deploy"'])
def test_a_phase_that_is_none_is_told(workshop: Workshop, phase: str) -> None:
    """The message names the file and the two that there are."""
    workshop.write("0003_odd", after=HEAD, extra=f"phase = {phase}\n")
    refused = workshop.migrate("status")
    assert refused.returncode == 3
    assert '`phase` must be "pre-deploy" or "post-deploy"' in refused.stderr
    assert "0003_odd.py" in refused.stderr


def test_a_manifest_of_the_first_format_is_read_and_written_anew(workshop: Workshop) -> None:
    """It is believed as before, by `seal --check` too; the next `seal` writes the second format."""
    manifest = workshop.root / "migrations" / "manifest.txt"
    manifest.write_text(FIRST_FORMAT)
    assert workshop.migrate("seal", "--check").stdout == "the manifest is true\n"
    assert workshop.migrate().returncode == 0
    assert workshop.migrate("seal").returncode == 0
    assert manifest.read_text().startswith("# Railhead manifest 2.")
    assert workshop.migrate("seal", "--check").returncode == 0


FIRST_FORMAT = """\
# Railhead manifest 1. Written by `python utils/migrate.py seal`; after a conflict rebase one branch, then seal again.
# file revision parent checksum catalog previous-release hazards
0001_baseline.py 0001_baseline - 6f2f3a44ed35620f 3ad7330df5dcb82b works -
0002_add_task_due_on.py 0002_add_task_due_on 0001_baseline 144c5c3bc6e45432 1c0bb10268e6535e works -
# sealed 2fc90be5bac506b5 93fc77a14bf85db6 8ffac90cf8a3d8db 0002_add_task_due_on
"""
