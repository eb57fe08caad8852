"""A project's own env.py is more than metadata: what it says to `enter` holds wherever revisions are written, compared or run."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from railhead.dsn import Dsn
from railhead.project import Project
from tests.databases import rows_of
from tests.forked_tree import Workshop

SCHEMA = "CREATE SCHEMA keeping"


def say(tree: Workshop, arguments: str, before: str = "") -> None:
    """Let env.py say more to `enter`."""
    env = tree.root / "migrations" / "env.py"
    text = env.read_text().replace(
        "entry.enter(context, models)", f"{before}\nentry.enter(context, models, {arguments})"
    )
    env.write_text(text)


def keep_version_in(tree: Workshop, name: str, schema: str = "") -> None:
    """Let alembic.ini say where the version is kept."""
    ini = tree.root / "alembic.ini"
    more = f"version_table_schema = {schema}\n" if schema else ""
    ini.write_text(ini.read_text().replace("[railhead]\n", f"[railhead]\nversion_table = {name}\n{more}"))


@pytest.fixture
def renewed(workshop: Workshop) -> Iterator[Workshop]:
    """A tree whose alembic.ini is put back."""
    ini = workshop.root / "alembic.ini"
    text = ini.read_text()
    yield workshop
    ini.write_text(text)


def column(tree: Workshop, code: str = "note: Mapped[str | None]") -> None:
    """Give the tasks one more column."""
    models = tree.root / "models.py"
    models.write_text(
        models.read_text().replace("due_on: Mapped[date | None]", f"due_on: Mapped[date | None]\n    {code}")
    )


def revision(tree: Workshop, message: str = "note") -> str:
    """Type `alembic revision --autogenerate` and return what the new files say."""
    before = {*tree.versions.glob("*.py")}
    ended = tree.alembic("revision", "--autogenerate", "-m", message)
    assert ended.returncode == 0, ended.stderr
    return "\n".join(path.read_text() for path in sorted({*tree.versions.glob("*.py")} - before))


@pytest.mark.parametrize(
    ("name", "schema"),
    [("app_version", ""), ("alembic_version", "keeping"), ("Version Of It", "keeping"), ("order", "")],
)
def test_the_version_is_kept_where_alembic_ini_says(renewed: Workshop, database: Dsn, name: str, schema: str) -> None:
    """By every entrance: start, status, hand-typed Alembic, adopt, stamp; and it is no table of anybody's schema."""
    rows_of(database, SCHEMA)
    keep_version_in(renewed, name, schema)
    table = f'{schema or "public"}."{name}"'
    assert "has no version" not in renewed.migrate("status").stdout
    for words, at in (
        (("upgrade",), "0002_add_task_due_on"),
        (("downgrade", "-1", "--yes"), "0001_baseline"),
        (("upgrade",), "0002_add_task_due_on"),
    ):
        ended = renewed.migrate(*words)
        assert ended.returncode == 0, ended.stderr
        assert rows_of(database, f"SELECT version_num FROM {table}") == [(at,)]
    assert renewed.migrate().stdout == "upgrade: nothing to do, the database is at 0002_add_task_due_on\n"
    assert "0002_add_task_due_on (head)" in renewed.alembic("current").stdout
    told = json.loads(renewed.migrate("status", "--json").stdout)
    assert (told["state"], told["flags"]) == ("current", [])
    assert json.loads(renewed.migrate("drift", "--json").stdout) == {"outside": [], "models": []}
    assert renewed.migrate("doctor").stdout == "nothing found\n"
    assert renewed.alembic("check").returncode == 0
    assert renewed.migrate("seal", "--check").returncode == 0, renewed.migrate("seal", "--check").stdout
    assert name in renewed.alembic("upgrade", "head", "--sql").stdout
    if (name, schema) != ("alembic_version", ""):
        assert rows_of(database, "SELECT to_regclass('public.alembic_version')") == [(None,)]
    rows_of(database, f"DROP TABLE {table}; DROP TABLE migration_ledger")
    assert json.loads(renewed.migrate("status", "--json").stdout)["state"] == "unmanaged"
    ended = renewed.migrate()
    assert ended.returncode == 0, ended.stderr
    assert rows_of(database, f"SELECT version_num FROM {table}") == [("0002_add_task_due_on",)]


def test_two_applications_keep_their_versions_beside_each_other(renewed: Workshop, database: Dsn) -> None:
    """Another application's version is neither ours nor a difference, under the common name too."""
    rows_of(
        database,
        "CREATE TABLE alembic_version (version_num varchar(32)); INSERT INTO alembic_version VALUES ('9f8e7d6c5b4a')",
    )
    keep_version_in(renewed, "ours")
    assert renewed.migrate().returncode == 0
    assert json.loads(renewed.migrate("status", "--json").stdout)["state"] == "current"
    assert renewed.alembic("check").returncode == 0
    assert rows_of(database, "SELECT version_num FROM alembic_version") == [("9f8e7d6c5b4a",)]


def test_env_py_and_alembic_ini_must_say_the_same(renewed: Workshop, database: Dsn) -> None:
    """A start reads alembic.ini only: what env.py says otherwise is refused, with the lines to write."""
    say(renewed, 'version_table="app_version", version_table_schema="keeping"')
    for ended in (renewed.migrate(), renewed.alembic("current"), renewed.alembic("upgrade", "head", "--sql")):
        assert ended.returncode == 3
        assert re.sub(r"^.*stopped", "x stopped", ended.stderr) == (
            "x stopped: the version is in keeping.app_version, says migrations/env.py, and in alembic_version, says alembic.ini\n\n"
            "  file       migrations/env.py\n"
            "  database   not touched\n\n"
            "  next       say it in alembic.ini, which a start reads without env.py:\n"
            "             [railhead]\n"
            "             version_table = app_version\n"
            "             version_table_schema = keeping                        [env-file]\n"
        )
    keep_version_in(renewed, "app_version", "keeping")
    rows_of(database, SCHEMA)
    assert renewed.migrate().returncode == 0


def test_where_the_version_is_kept_is_read_without_a_parser_unless_it_is_said(tmp_path: Path) -> None:
    """A start costs one small file; names are written as SQL needs them."""
    assert Project(tmp_path).version_table.sql == "alembic_version"
    for text in (
        "[alembic]\nversion_table = x\n",
        "[alembic]\n[railhead]\n# version_table = x\n",
        "\n[railhead]\n[x]\nversion_table = x",
    ):
        (tmp_path / "alembic.ini").write_text(text)
        assert Project(tmp_path).version_table.sql == "alembic_version"
    (tmp_path / "alembic.ini").write_text("[alembic]\n[railhead]\nversion_table = It's\nversion_table_schema = a b\n")
    assert Project(tmp_path).version_table.sql == '"a b"."It\'s"'
    assert Project(tmp_path).version_table.regclass == "to_regclass('\"a b\".\"It''s\"')"


def test_what_is_not_known_is_refused_and_what_is_decided_is_said(workshop: Workshop) -> None:
    """A word that enter() does not take stops; one that makes no difference here is a warning."""
    say(workshop, "include_shemas=True")
    ended = workshop.alembic("current")
    assert (ended.returncode, "enter() does not take include_shemas" in ended.stderr) == (3, True), ended.stderr
    env = workshop.root / "migrations" / "env.py"
    env.write_text(env.read_text().replace("include_shemas=True", "render_as_batch=True"))
    ended = workshop.migrate()
    assert ended.returncode == 0
    assert "migrations/env.py: render_as_batch is not looked at: batches are for SQLite" in ended.stderr


FILTERS = {
    "include_object": 'include_object=lambda thing, name, kind, reflected, model: name != "note"',
    "include_name": 'include_name=lambda name, kind, parents: name != "by_hand"',
    "compare_type": "compare_type=lambda context, there, wanted, old, new: False",
    "compare_server_default": "compare_server_default=False",
    "directives": (
        "process_revision_directives=lambda context, revision, directives:"
        " directives.clear() if directives[0].upgrade_ops.ops else None"
    ),
}
CHANGES = {
    "include_object": column,
    "include_name": lambda tree: rows_of(tree.database, "CREATE INDEX by_hand ON task (title)"),
    "compare_type": lambda tree: rows_of(tree.database, "ALTER TABLE task ALTER title TYPE varchar(99)"),
    "compare_server_default": lambda tree: rows_of(tree.database, "ALTER TABLE task ALTER title SET DEFAULT 'x'"),
    "directives": column,
}


@pytest.mark.parametrize("filtered", FILTERS)
def test_the_projects_own_filter_counts(at_head: Workshop, filtered: str) -> None:
    """Without it there is a file; with it there is none."""
    CHANGES[filtered](at_head)
    assert at_head.database
    written = revision(at_head)
    assert "def upgrade" in written
    for path in at_head.versions.glob("0003*"):
        path.unlink()
    say(at_head, FILTERS[filtered])
    assert revision(at_head) == ""


@pytest.mark.parametrize("filtered", ["include_object", "include_name", "compare_type", "compare_server_default"])
def test_drift_and_check_heed_the_filter(at_head: Workshop, filtered: str) -> None:
    """They compare what autogenerate compares."""
    CHANGES[filtered](at_head)
    say(at_head, FILTERS[filtered])
    assert at_head.alembic("check").returncode == 0
    assert json.loads(at_head.migrate("drift", "--json").stdout)["models"] == []


RENDERING = '''
def written(kind, thing, autogen):
    """Write our type by its name."""
    from models import Money
    if kind == "type" and isinstance(thing, Money):
        autogen.imports.add("from models import Money")
        return "Money()"
    return False
'''


def test_types_are_rendered_as_the_project_says(at_head: Workshop) -> None:
    """render_item writes a type of the project's own, with its import; user_module_prefix says where others are found, which the template imports."""
    models = at_head.root / "models.py"
    money = "class Money(sa.TypeDecorator[int]):\n    impl = sa.BigInteger\n    cache_ok = True\n\n\n"
    text = models.read_text().replace("class Project(Base)", f"{money}class Project(Base)", 1)
    models.write_text(
        text.replace(
            "from __future__ import annotations\n", "from __future__ import annotations\n\nimport sqlalchemy as sa\n", 1
        )
    )
    column(at_head, "price = mapped_column(Money)")
    say(at_head, "render_item=written", RENDERING)
    text = revision(at_head)
    assert "Money()" in text
    assert "from models import Money" in text
    for path in at_head.versions.glob("0003*"):
        path.unlink()
    env = at_head.root / "migrations" / "env.py"
    env.write_text(env.read_text().replace("render_item=written", 'user_module_prefix="own."'))
    template = at_head.root / "migrations" / "script.py.mako"
    template.write_text(template.read_text().replace("\nrevision = ", "\nimport models as own\n\nrevision = ", 1))
    assert "own.Money()" in revision(at_head)


def test_a_directive_of_the_projects_own_names_the_file(at_head: Workshop) -> None:
    """What it makes of a script is where Railhead's files begin."""
    column(at_head)
    say(
        at_head,
        "process_revision_directives=named",
        "def named(context, revision, directives):\n    directives[0].rev_id = 'of_our_own'\n",
    )
    assert 'revision = "of_our_own"' in revision(at_head).replace("'", '"').replace("revision: str", "revision")


def test_all_schemas_are_looked_at_where_env_py_says_so(at_head: Workshop, database: Dsn) -> None:
    """include_schemas: a table that a revision has made in a schema that no model names is found; another tool's is left alone."""
    at_head.write(
        "0003_archive",
        'op.execute("CREATE SCHEMA archive")\nop.create_table("note", sa.Column("id", sa.Integer()), schema="archive")',
        after="0002_add_task_due_on",
    )
    assert at_head.migrate().returncode == 0
    assert at_head.alembic("check").returncode == 0
    say(at_head, "include_schemas=True")
    rows_of(database, "CREATE SCHEMA theirs; CREATE TABLE theirs.job (id int)")
    ended = at_head.alembic("check")
    assert ended.returncode != 0
    assert "left alone, because no revision makes them and no model knows them: theirs.job" in ended.stderr
    assert "op.drop_table('note', schema='archive')" in revision(at_head).replace('"', "'")


CALLED = """
from alembic import op

revision = "0003_called"
down_revision = "0002_add_task_due_on"


def upgrade(tenant: str = "nobody") -> None:
    op.execute(f"CREATE TABLE of_{tenant} (id int)")


def downgrade(tenant: str = "nobody") -> None:
    op.execute(f"DROP TABLE of_{tenant}")
"""


def test_revisions_are_called_with_the_arguments(at_head: Workshop, database: Dsn) -> None:
    """Upwards, downwards, in `--sql` and in a replay: upgrade(**arguments)."""
    for path in at_head.versions.glob("000*.py"):
        text = path.read_text()
        path.write_text(re.sub(r"def (upgrade|downgrade)\(\)", r"def \1(**_arguments: object)", text))
    (at_head.versions / "0003_called.py").write_text(CALLED)
    say(at_head, 'arguments={"tenant": "acme"}')
    ended = at_head.migrate("seal")
    assert ended.returncode == 0, ended.stderr
    assert "CREATE TABLE of_acme" in at_head.alembic("upgrade", "0002:head", "--sql").stdout
    assert at_head.migrate().returncode == 0
    assert rows_of(database, "SELECT to_regclass('of_acme')::text") == [("of_acme",)]
    assert at_head.migrate("downgrade", "-1", "--yes").returncode == 0
    assert rows_of(database, "SELECT to_regclass('of_acme')::text") == [(None,)]


AROUND = '''
from contextlib import contextmanager

import app_context


@contextmanager
def around():
    """What Flask's app.app_context() is."""
    app_context.current = "there"
    try:
        yield
    finally:
        app_context.current = None
'''
IN_CONTEXT = 'import app_context\nassert app_context.current == "there"\nop.execute("CREATE TABLE in_context (id int)")'


def test_the_applications_context_is_around_revisions(at_head: Workshop, database: Dsn) -> None:
    """At a start, by hand, in `--sql` and in a replay; and around the import of the models."""
    (at_head.root / "app_context.py").write_text("current = None\n")
    at_head.write("0003_context", IN_CONTEXT, 'op.execute("DROP TABLE in_context")', after="0002_add_task_due_on")
    say(at_head, "around=around", AROUND)
    ended = at_head.migrate("seal")
    assert ended.returncode == 0, ended.stderr
    assert "CREATE TABLE in_context" in at_head.alembic("upgrade", "0002:head", "--sql").stdout
    assert at_head.alembic("upgrade", "head").returncode == 0
    assert rows_of(database, "SELECT to_regclass('in_context')::text") == [("in_context",)]


def test_x_arguments_reach_env_py_and_revisions(at_head: Workshop, database: Dsn) -> None:
    """`alembic -x tenant=acme upgrade head`."""
    at_head.write(
        "0003_x",
        'from alembic import context\ntenant = context.get_x_argument(as_dictionary=True)["tenant"]\nop.execute(f"CREATE TABLE of_{tenant} (id int)")',
        after="0002_add_task_due_on",
    )
    ended = at_head.alembic("-x", "tenant=acme", "upgrade", "head")
    assert ended.returncode == 0, ended.stderr
    assert rows_of(database, "SELECT to_regclass('of_acme')::text") == [("of_acme",)]


FAILS = {
    "an error": ("raise ValueError('not here')", "ValueError: not here"),
    "a missing variable": ("import os; os.environ['SOME_SETTING']", "KeyError: 'SOME_SETTING'"),
    "a missing module": ("import absent_library", "ModuleNotFoundError: No module named 'absent_library'"),
    "a missing section": ("from logging.config import fileConfig; fileConfig(context.config.config_file_name)", "KeyError: 'formatters'"),
    "the end of the process": ("import sys; sys.exit('not today')", "SystemExit: not today"),
    "a call of Alembic's own": ("context.configure(url='postgresql://', literal_binds=True)", "CommandError: Can't use literal_binds"),
    "no Python": ("def (", "SyntaxError: invalid syntax"),
}  # fmt: skip


@pytest.mark.parametrize(("code", "words"), FAILS.values(), ids=FAILS)
def test_what_fails_before_the_engine_is_entered_is_told_with_its_line(
    workshop: Workshop, database: Dsn, code: str, words: str
) -> None:
    """By a start as by a command: nobody sees a traceback, and nothing else is blamed."""
    env = workshop.root / "migrations" / "env.py"
    env.write_text(env.read_text().replace("entry.enter(", f"{code}\nentry.enter("))
    line = env.read_text().splitlines().index(code) + 1
    ended = workshop.migrate()
    assert (ended.returncode, "Traceback" in ended.stderr) == (3, False), ended.stderr
    assert f"  file       migrations/env.py, line {line}\n" in ended.stderr
    assert words in ended.stderr
    assert ended.stderr.endswith("[env-file]\n")
    assert rows_of(database, "SELECT to_regclass('alembic_version')") == [(None,)]
