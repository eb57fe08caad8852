"""Flask with plain SQLAlchemy: alembic.ini at the root, a version table in a schema of its own, an `include_object`."""

from __future__ import annotations

from pathlib import Path

FILES = {
    "inventory/__init__.py": """\
import os

from flask import Flask
from sqlalchemy import create_engine, func, select
from sqlalchemy.orm import Session

from inventory.models import Base, Part

APP_ENV = os.environ.get("APP_ENV")


def create_app() -> Flask:
    app = Flask(__name__)
    engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg2://"))

    @app.get("/")
    def index():
        with Session(engine) as session:
            return {"parts": session.scalar(select(func.count()).select_from(Part))}

    return app
""",
    "inventory/models.py": """\
from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Shelf(Base):
    __tablename__ = "shelf"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(40))


class Part(Base):
    __tablename__ = "part"
    id: Mapped[int] = mapped_column(primary_key=True)
    number: Mapped[str] = mapped_column(String(20), index=True)
    shelf_id: Mapped[int | None] = mapped_column(ForeignKey("shelf.id"))
""",
    "alembic.ini": """\
[alembic]
script_location = schema
sqlalchemy.url = postgresql://inventory@localhost/inventory
prepend_sys_path = .
path_separator = os

[loggers]
keys = root

[handlers]
keys = console

[formatters]
keys = generic

[logger_root]
level = WARNING
handlers = console

[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = generic

[formatter_generic]
format = %(levelname)-5.5s [%(name)s] %(message)s
""",
    "schema/env.py": """\
import os
from logging.config import fileConfig

from alembic import context
from sqlalchemy import engine_from_config, pool

from inventory.models import Base

config = context.config
if config.config_file_name is not None:
    fileConfig(config.config_file_name)
if os.environ.get("DATABASE_URL"):
    config.set_main_option("sqlalchemy.url", os.environ["DATABASE_URL"])

target_metadata = Base.metadata
VERSION_SCHEMA = "bookkeeping"


# What the warehouse robots keep in our database is theirs.
def include_object(object, name, type_, reflected, compare_to):
    return not (type_ == "table" and name.startswith("robot_"))


def run_migrations_offline() -> None:
    context.configure(
        url=config.get_main_option("sqlalchemy.url"),
        target_metadata=target_metadata,
        literal_binds=True,
        include_object=include_object,
        version_table_schema=VERSION_SCHEMA,
    )
    with context.begin_transaction():
        context.run_migrations()


def run_migrations_online() -> None:
    connectable = engine_from_config(
        config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.", poolclass=pool.NullPool
    )
    with connectable.connect() as connection:
        context.configure(
            connection=connection,
            target_metadata=target_metadata,
            include_object=include_object,
            version_table_schema=VERSION_SCHEMA,
            compare_type=True,
        )
        with context.begin_transaction():
            context.run_migrations()


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
""",
    "schema/versions/1f0e_shelves.py": '''\
"""shelves"""

import sqlalchemy as sa
from alembic import op

revision = "1f0ea37c9b21"
down_revision = None


def upgrade() -> None:
    op.create_table("shelf", sa.Column("id", sa.Integer(), primary_key=True), sa.Column("name", sa.String(40), nullable=False))


def downgrade() -> None:
    op.drop_table("shelf")
''',
    "schema/versions/8c2d_parts.py": '''\
"""parts"""

import sqlalchemy as sa
from alembic import op

revision = "8c2d50e1a9f4"
down_revision = "1f0ea37c9b21"


def upgrade() -> None:
    op.create_table(
        "part",
        sa.Column("id", sa.Integer(), primary_key=True),
        sa.Column("number", sa.String(20), nullable=False),
        sa.Column("shelf_id", sa.Integer(), sa.ForeignKey("shelf.id")),
    )
    op.create_index("ix_part_number", "part", ["number"])


def downgrade() -> None:
    op.drop_table("part")
''',
}

HEAD = "8c2d50e1a9f4"
MIDDLE = "1f0ea37c9b21"


def write(root: Path, templates: Path) -> None:
    """Write the application into an empty folder."""
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    (root / "schema" / "script.py.mako").write_bytes((templates / "generic" / "script.py.mako").read_bytes())
