"""What does plain Alembic make of a project, and what does Railhead?

A tree whose revisions, models and application code are another project's; plain Alembic runs in it with the env.py that
`alembic init` writes, `target_metadata` set, and all else as it comes. What a database holds is asked of pg_dump.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import alembic

from railhead.devserver.binaries import binary
from railhead.dsn import Dsn
from tests.databases import url_of
from tests.forked_tree import Workshop
from tests.inherited.early import EARLY
from tests.inherited.late import LATE
from tests.inherited.writing import Record, id_of, write
from tests.project_tree import MIGRATE

HARBOUR = [*EARLY, *LATE]
"""Sixty-one revisions that plain Alembic runs from nothing to head."""

MODELS = """
import sqlalchemy as sa
from sqlalchemy.orm import DeclarativeBase

class Base(DeclarativeBase):
    metadata = sa.MetaData(naming_convention={
        "ix": "ix_%(column_0_label)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    })

class Quay(Base):
    __tablename__ = "quay"
    id = sa.Column(sa.Integer, primary_key=True)
    name = sa.Column(sa.Text, unique=True, nullable=False)
"""

APPLICATION = {
    "__init__.py": "",
    "kinds.py": 'SHIPS = {"Heron": "ferry", "Petrel": "tanker", "Puffin": "coaster"}\n',
    "old.py": 'import warnings\n\nwarnings.warn("harbour.old goes away", DeprecationWarning, stacklevel=2)\n',
}

_ALEMBIC = """
import os, sys
from alembic import command
from alembic.config import Config

config = Config()
config.set_main_option("script_location", sys.argv[1])
config.set_main_option("version_locations", "migrations/versions")
config.set_main_option("path_separator", "os")
config.set_main_option("prepend_sys_path", ".")
config.set_main_option("sqlalchemy.url", os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg2://").replace("%", "%%"))
for step in sys.argv[2:]:
    getattr(command, step.split()[0])(config, step.split()[1])
"""


_LOCKING = """
from alembic import context
from sqlalchemy import create_engine, pool, text
from models import Base

engine = create_engine(context.config.get_main_option("sqlalchemy.url"), poolclass=pool.NullPool)
with engine.connect() as connection:
    connection.execute(text("SELECT pg_advisory_lock(7)"))
    context.configure(connection=connection, target_metadata=Base.metadata)
    context.run_migrations()
    connection.commit()
"""
"""An env.py that asks for something first: SQLAlchemy has begun a transaction then, which Alembic takes for somebody else's."""


class Inherited:
    """A tree with somebody else's history in the place of ours."""

    def __init__(self, tree: Workshop, records: Sequence[Record] = HARBOUR) -> None:
        """Put it there."""
        self.tree = tree
        self.records = list(records)
        shutil.rmtree(tree.versions)
        tree.versions.mkdir()
        self.manifest.unlink(missing_ok=True)
        (tree.root / "models.py").write_text(MODELS)
        for folder, files in (
            ("harbour", APPLICATION),
            ("stock", {"env.py": _stock_environment()}),
            ("locking", {"env.py": _LOCKING}),
            ("migrations", {"words.py": 'WORDS = ["north", "south"]\n'}),
        ):
            (tree.root / folder).mkdir(exist_ok=True)
            for name, text in files.items():
                (tree.root / folder / name).write_text(text)
        self.write(self.records)

    def write(self, records: Sequence[Record]) -> None:
        """Let the history be these."""
        self.records = list(records)
        write(records, self.tree.versions)

    @property
    def manifest(self) -> Path:
        """Return the file that `seal` writes."""
        return self.tree.root / "migrations" / "manifest.txt"

    @property
    def head(self) -> str:
        """Return the id of the newest."""
        return self.records[-1].id

    def plain(self, database: Dsn, *steps: str, environment: str = "stock") -> None:
        """Let plain Alembic take these steps, such as `upgrade head`, with the env.py of this folder. Changes the schema."""
        ended = self.tree.run(sys.executable, "-c", _ALEMBIC, environment, *steps, DATABASE_URL=url_of(database))
        assert ended.returncode == 0, ended.stderr

    def railhead(self, database: Dsn, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run `python utils/migrate.py` on this database and return how it ended."""
        return self.tree.run(*MIGRATE, *arguments, DATABASE_URL=url_of(database), **variables)


def _stock_environment() -> str:
    text = (Path(alembic.__file__).parent / "templates/generic/env.py").read_text()
    return text.replace("target_metadata = None", "from models import Base\ntarget_metadata = Base.metadata")


def contents(database: Dsn) -> str:
    """Return the schema and the rows of a database as pg_dump tells them, without what is Railhead's own. Read-only."""
    told = subprocess.run(
        [binary("pg_dump"), "--no-owner", "--inserts", "--exclude-table=migration_ledger", "--dbname", database],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return "\n".join(line for line in told.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))


__all__ = ["HARBOUR", "Inherited", "contents", "id_of"]
