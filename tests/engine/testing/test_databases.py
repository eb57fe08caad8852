"""What `railhead.testing` gives to other people's tests."""

from __future__ import annotations

import subprocess
import sys

import psycopg2

from railhead.dsn import Dsn
from railhead.project import Project
from railhead.testing import databases
from railhead.testing.databases import DatabaseUrl
from tests.databases import rows_of
from tests.forked_tree import Workshop
from tests.processes import environment
from tests.project_tree import Tree

PROJECT = {
    "conftest.py": "",
    "test_them.py": """\
import psycopg2
from railhead.testing.history import *

urls = []


def test_first(migrated_database):
    urls.append(migrated_database)
    with psycopg2.connect(migrated_database) as connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO member (name) VALUES ('Ada')")
    connection.close()


def test_second(migrated_database):
    connection = psycopg2.connect(migrated_database)
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*), (SELECT version_num FROM alembic_version) FROM member")
        assert cursor.fetchone() == (0, "0002_add_task_due_on")
    connection.close()
    assert migrated_database not in urls
    assert migrated_database.sqlalchemy.startswith("postgresql+psycopg2://")
""",
}


def test_project_tests_its_migrations_with_the_plugin(project: Tree, server: Dsn) -> None:
    """Two files of a project's own are all: each test has a database at head, and the checks of the history run."""
    for name, text in PROJECT.items():
        (project.root / name).write_text(text)
    ended = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "railhead.testing.plugin",
            "-p",
            "no:cacheprovider",
            "test_them.py",
        ],
        cwd=project.root,
        env=environment(TEST_DATABASE_URL=DatabaseUrl.of(server), PYTHONDONTWRITEBYTECODE="1"),
        capture_output=True,
        text=True,
    )
    assert "10 passed" in ended.stdout, ended.stdout + ended.stderr
    (template,) = databases.known(DatabaseUrl.of(server), Project(project.root))
    rows_of(server, f'DROP DATABASE "{template}"')


def test_template_follows_the_revision_files(bare: Workshop, server: Dsn) -> None:
    """A template is migrated once; when a revision changes there is another one, and the old one goes."""
    url = DatabaseUrl.of(server)
    bare.write("0001_first", "op.execute('CREATE TABLE first (id int)')")
    project = Project(bare.root)
    first = databases.template(url, project)
    assert databases.template(url, project) == first
    bare.write("0002_second", "op.execute('CREATE TABLE second (id int)')", after="0001_first")
    second = databases.template(url, project)
    assert databases.known(url, project) == [second]
    with databases.copied(url, second) as copy:
        connection = psycopg2.connect(copy)
        with connection.cursor() as cursor:
            cursor.execute("SELECT to_regclass('first'), to_regclass('second')")
            assert cursor.fetchone() == ("first", "second")
    rows_of(server, f'DROP DATABASE "{second}"')
    databases.leave()
    connection.close()
