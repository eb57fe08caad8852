"""How does each tool want its history, and how is it started?

Every tree is laid out as the tool's own `init` command does it, or as its documentation shows. All tools find the database by the
same variables. Never runs a migration.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks import places, processes
from benchmarks.histories import Revision

BARE_CODE = """
import psycopg2
connection = psycopg2.connect("")
with connection.cursor() as cursor:
    cursor.execute("SELECT version_num FROM alembic_version")
    cursor.fetchall()
connection.close()
"""
"""What no Python program that looks at all can undercut."""

Lay = Callable[[Path, Sequence[Revision]], None]


class Tool(NamedTuple):
    """One tool, or one way to use it."""

    name: str
    label: str
    command: tuple[str, ...]
    """What brings a database to head; the program comes from the benchmark's virtual environment."""
    lay: Lay
    """Writes the tree with a history of any length."""
    tree_of: str = ""
    """The tool whose trees it shares, when it is the same tool started in another way."""

    @property
    def family(self) -> str:
        """Return the name of the folder that its trees are in."""
        return self.tree_of or self.name


def lay_psql(tree: Path, history: Sequence[Revision]) -> None:
    """Write all statements into one file."""
    statements = "".join(f"{revision.upgrade};\n" for revision in history)
    (tree / "all.sql").write_text(statements)


def lay_alembic(tree: Path, history: Sequence[Revision]) -> None:
    """Lay out what `alembic init` makes, with an empty address in alembic.ini: libpq's variables give it."""
    _run("alembic", "init", "migrations", tree=tree)
    ini = tree / "alembic.ini"
    _replace(ini, "driver://user:pass@localhost/dbname", "postgresql+psycopg2://")
    write_alembic_versions(tree / "migrations" / "versions", history)


def lay_alembic_each(tree: Path, history: Sequence[Revision]) -> None:
    """Lay out the same, with one transaction for each revision."""
    lay_alembic(tree, history)
    env = tree / "migrations" / "env.py"
    stock = "connection=connection, target_metadata=target_metadata\n"
    _replace(env, stock, f"{stock.strip()}, transaction_per_migration=True\n")


def write_alembic_versions(folder: Path, history: Sequence[Revision]) -> None:
    """Write one revision file a step, for every tool that speaks Alembic."""
    folder.mkdir(exist_ok=True)
    parent: str | None = None
    for revision in history:
        imports = "import sqlalchemy as sa\n" if revision.code else ""
        forth = revision.code or f"op.execute({revision.upgrade!r})"
        back = f"op.execute({revision.downgrade!r})" if revision.downgrade else "pass"
        (folder / f"{revision.identity}.py").write_text(
            f'"""{revision.name}"""\n\n{imports}from alembic import op\n\n'
            f"revision = {revision.identity!r}\ndown_revision = {parent!r}\nbranch_labels = None\ndepends_on = None\n\n\n"
            f"def upgrade():\n    {forth}\n\n\ndef downgrade():\n    {back}\n"
        )
        parent = revision.identity


def lay_flask_migrate(tree: Path, history: Sequence[Revision]) -> None:
    """Lay out an application with Flask-SQLAlchemy, and what `flask db init` makes."""
    (tree / "app.py").write_text(
        "from flask import Flask\nfrom flask_migrate import Migrate\nfrom flask_sqlalchemy import SQLAlchemy\n\n"
        'app = Flask(__name__)\napp.config["SQLALCHEMY_DATABASE_URI"] = "postgresql+psycopg2://"\n'
        "db = SQLAlchemy(app)\nmigrate = Migrate(app, db)\n"
    )
    _run("flask", "db", "init", tree=tree)
    write_alembic_versions(tree / "migrations" / "versions", history)


def lay_django(tree: Path, history: Sequence[Revision]) -> None:
    """Lay out a project with one application and nothing else that would have migrations of its own.

    RunSQL keeps Django from computing the state of its models for each step, which would cost it more.
    """
    (tree / "settings.py").write_text(
        'import os\n\nSECRET_KEY = "benchmark"\nINSTALLED_APPS = ["board"]\nUSE_TZ = True\n'
        'DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": os.environ["PGDATABASE"]}}\n'
    )
    (tree / "manage.py").write_text(
        'import os\nimport sys\n\nos.environ.setdefault("DJANGO_SETTINGS_MODULE", "settings")\n'
        'if __name__ == "__main__":\n    from django.core.management import execute_from_command_line\n\n'
        "    execute_from_command_line(sys.argv)\n"
    )
    folder = tree / "board" / "migrations"
    folder.mkdir(parents=True)
    for package in (folder.parent, folder):
        (package / "__init__.py").touch()
    parent: str | None = None
    for revision in history:
        dependencies = [("board", parent)] if parent else []
        (folder / f"{revision.identity}.py").write_text(
            "from django.db import migrations\n\n\nclass Migration(migrations.Migration):\n"
            f"    dependencies = {dependencies!r}\n"
            f"    operations = [migrations.RunSQL([{revision.upgrade!r}], [{revision.downgrade!r}])]\n"
        )
        parent = revision.identity


def lay_dbmate(tree: Path, history: Sequence[Revision]) -> None:
    """Write one SQL file a step, in the folder that dbmate looks for."""
    folder = tree / "db" / "migrations"
    folder.mkdir(parents=True)
    for revision in history:
        text = f"-- migrate:up\n{revision.upgrade};\n\n-- migrate:down\n{revision.downgrade};\n"
        (folder / f"{revision.identity}.sql").write_text(text)


def lay_railhead(tree: Path, history: Sequence[Revision]) -> None:
    """Copy this project, put the history in the place of its migrations, and seal it."""
    for name in ("alembic.ini", "app", "migrations", "models.py", "railhead", "utils"):
        source = places.ROOT / name
        if source.is_dir():
            shutil.copytree(source, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, tree / name)
    versions = tree / "migrations" / "versions"
    shutil.rmtree(versions)
    write_alembic_versions(versions, history)
    (tree / "migrations" / "manifest.txt").unlink(missing_ok=True)
    _run("python", "utils/migrate.py", "seal", "--no-replay", tree=tree)


PSQL = Tool("psql", "psql -1 -f (limit)", (), lay_psql)
ALEMBIC = Tool("alembic", "Alembic", ("alembic", "upgrade", "head"), lay_alembic)
ALEMBIC_EACH = Tool("alembic-each", "Alembic, transaction_per_migration", ALEMBIC.command, lay_alembic_each)
FLASK_MIGRATE = Tool("flask-migrate", "Flask-Migrate", ("flask", "db", "upgrade"), lay_flask_migrate)
DJANGO = Tool("django", "Django", ("python", "manage.py", "migrate"), lay_django)
DBMATE = Tool("dbmate", "dbmate", ("dbmate", "--no-dump-schema", "migrate"), lay_dbmate)
DBMATE_LOCK = Tool(
    "dbmate-lock",
    "dbmate --migration-lock",
    ("dbmate", "--no-dump-schema", "--migration-lock", "migrate"),
    lay_dbmate,
    "dbmate",
)
RAILHEAD = Tool("railhead", "Railhead", ("python", "utils/migrate.py"), lay_railhead)

BARE = Tool("limit", "A bare connection with one SELECT (limit)", ("python", "-c", BARE_CODE), lay_alembic, "alembic")

PEERS = (ALEMBIC, FLASK_MIGRATE, DJANGO, DBMATE)
ALL = (BARE, PSQL, RAILHEAD, *PEERS, ALEMBIC_EACH, DBMATE_LOCK)


def command_of(tool: Tool) -> list[str]:
    """Return the command of `tool` with the full path of its program."""
    if tool is PSQL:
        return [places.psql(), "-X", "-q", "-1", "-v", "ON_ERROR_STOP=1", "-f", "all.sql"]
    program, *arguments = tool.command
    return [str(places.PROGRAMS / program), *arguments]


def laid(tool: Tool, history: Sequence[Revision], name: str = "") -> Path:
    """Return a freshly laid tree of `tool` with `history`, in a folder called by its length unless it has a `name`."""
    tree = places.TREES / tool.family / (name or str(len(history)))
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    tool.lay(tree, history)
    return tree


def _run(program: str, *arguments: str, tree: Path) -> None:
    """Run a program that reads files only; it finds a database named all the same, so that it does not go and start one."""
    environment = {**places.clean_environment(), "DATABASE_URL": "postgresql://127.0.0.1/not-connected-to"}
    processes.printed([str(places.PROGRAMS / program), *arguments], tree, environment)


def _replace(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    if old not in text:
        raise processes.ProgramFailed(f"{file.relative_to(places.TREES)} no longer holds {old!r}{os.linesep}")
    file.write_text(text.replace(old, new))
