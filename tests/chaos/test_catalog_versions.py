"""The same schema gives the same fingerprint on every major version of PostgreSQL that this machine has."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from railhead.dsn import Dsn
from railhead.schema import catalog, diff
from railhead.schema.catalog import Catalog
from tests.databases import Databases, rows_of
from tests.processes import eventually

EVERYTHING = (Path(__file__).parents[1] / "engine" / "schema" / "everything.sql").read_text(encoding="utf-8")
INSTALLED = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
"""Where Debian's packages put their servers; postgresql-15 is Debian 12's."""


def nobody() -> None:
    """Leave root, who may not run PostgreSQL."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)


@pytest.fixture(scope="module", params=INSTALLED or [None], ids=lambda place: place.parent.name if place else "none")
def elder(request: pytest.FixtureRequest, server: Dsn) -> Iterator[Dsn]:
    """A server of another version, made for this file and gone afterwards."""
    if request.param is None:
        pytest.skip("no other PostgreSQL in /usr/lib/postgresql (apt-get install postgresql-15)")
    folder = Path(tempfile.mkdtemp(prefix="railhead-elder-"))
    if os.geteuid() == 0:
        os.chown(folder, 65534, 65534)
    plain = {"cwd": folder, "env": {"PATH": os.defpath, "LC_ALL": "C"}, "preexec_fn": nobody}
    initdb = [
        request.param / "initdb",
        "-D",
        folder / "data",
        "-U",
        "postgres",
        "-A",
        "trust",
        "-E",
        "UTF8",
        "--no-sync",
    ]
    subprocess.run([*initdb, "--locale=C"], check=True, capture_output=True, **plain)
    process = subprocess.Popen(
        [request.param / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses=", "-c", "fsync=off"],
        stderr=subprocess.DEVNULL,
        **plain,
    )
    dsn = Dsn.of(host=str(folder), user="postgres", dbname="postgres")
    try:
        eventually(lambda: answers(dsn), within=30)
        assert major(dsn) != major(server), "nothing is compared: both servers are of one version"
        yield dsn
    finally:
        process.send_signal(signal.SIGINT)  # who is still connected is not waited for
        process.wait(30)
        shutil.rmtree(folder)


def major(dsn: Dsn) -> int:
    """Return 15 for a server of PostgreSQL 15.18."""
    return int(str(rows_of(dsn, "SHOW server_version_num")[0][0])) // 10000


def answers(dsn: Dsn) -> bool:
    """Tell whether the server takes connections."""
    try:
        return bool(rows_of(dsn, "SELECT 1"))
    except psycopg2.OperationalError:
        return False


def catalog_of(server: Dsn, sql: str) -> Catalog:
    """Return the catalog of a database in which `sql` was run."""
    databases = Databases(server, f"railhead_test_versions_{uuid.uuid4().hex[:8]}")
    try:
        dsn = databases.new()
        rows_of(dsn, sql)
        with closing(psycopg2.connect(dsn)) as connection:
            return catalog.read(connection)
    finally:
        databases.drop()


def test_one_of_everything_has_the_same_fingerprint(elder: Dsn, server: Dsn) -> None:
    """A schema with one of everything is one schema, whichever version it is built on, and nothing differs in it."""
    there, here = catalog_of(elder, EVERYTHING), catalog_of(server, EVERYTHING)
    assert diff.difference(there, here) == []
    assert there.fingerprint == here.fingerprint


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE animal ALTER name DROP NOT NULL",
        "ALTER TABLE task DROP CONSTRAINT price_small",
        "CREATE OR REPLACE VIEW merged AS SELECT name FROM project",
        "ALTER TYPE status ADD VALUE 'never'",
    ],
)
def test_a_difference_is_seen_across_versions(elder: Dsn, server: Dsn, change: str) -> None:
    """One change on one of the two servers gives another fingerprint and is told as that change."""
    there, here = catalog_of(elder, EVERYTHING), catalog_of(server, f"{EVERYTHING}; {change}")
    assert there.fingerprint != here.fingerprint
    assert len(diff.difference(there, here)) == 1


def test_the_version_is_told(elder: Dsn) -> None:
    """The text of a catalog names the server's major version."""
    text = catalog_of(elder, "CREATE TABLE task (id int)").text
    assert re.fullmatch(r"catalog format \d+, PostgreSQL \d\d", text.split("\n")[0])
