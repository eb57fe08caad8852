"""FastAPI with SQLModel: an asynchronous env.py as Alembic's template has it, and a lifespan."""

from __future__ import annotations

from pathlib import Path

FILES = {
    "main.py": """\
from contextlib import asynccontextmanager

from fastapi import FastAPI

import models  # noqa: F401


@asynccontextmanager
async def lifespan(app: FastAPI):
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/health")
def health() -> dict[str, str]:
    return {"status": "ok"}
""",
    "models.py": """\
from sqlmodel import Field, SQLModel


class Order(SQLModel, table=True):
    __tablename__ = "orders"
    id: int | None = Field(default=None, primary_key=True)
    customer: str = Field(max_length=80, index=True)
    paid: bool = False
""",
    "alembic.ini": """\
[alembic]
script_location = %(here)s/alembic
prepend_sys_path = .
path_separator = os
sqlalchemy.url = postgresql+asyncpg://orders@localhost/orders
""",
    "alembic/env.py": """\
import asyncio
from logging.config import fileConfig

from alembic import context
from sqlalchemy import pool
from sqlalchemy.ext.asyncio import async_engine_from_config
from sqlmodel import SQLModel

import models  # noqa: F401

config = context.config

if config.config_file_name is not None:
    fileConfig(config.config_file_name)

target_metadata = SQLModel.metadata


def run_migrations_offline() -> None:
    url = config.get_main_option("sqlalchemy.url")
    context.configure(url=url, target_metadata=target_metadata, literal_binds=True, user_module_prefix="sqlmodel.sql.sqltypes.")
    with context.begin_transaction():
        context.run_migrations()


def do_run_migrations(connection) -> None:
    context.configure(
        connection=connection, target_metadata=target_metadata, user_module_prefix="sqlmodel.sql.sqltypes."
    )
    with context.begin_transaction():
        context.run_migrations()


async def run_async_migrations() -> None:
    connectable = async_engine_from_config(
        config.get_section(config.config_ini_section, {}), prefix="sqlalchemy.", poolclass=pool.NullPool
    )
    async with connectable.connect() as connection:
        await connection.run_sync(do_run_migrations)
    await connectable.dispose()


def run_migrations_online() -> None:
    asyncio.run(run_async_migrations())


if context.is_offline_mode():
    run_migrations_offline()
else:
    run_migrations_online()
""",
    "alembic/versions/4b7e_orders.py": '''\
"""orders"""

import sqlalchemy as sa
import sqlmodel
from alembic import op

revision = "4b7e21c0d9aa"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("customer", sqlmodel.sql.sqltypes.AutoString(length=80), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_orders_customer"), "orders", ["customer"], unique=False)


def downgrade() -> None:
    op.drop_table("orders")
''',
    "alembic/versions/9d30_paid.py": '''\
"""paid"""

import sqlalchemy as sa
from alembic import op

revision = "9d30c6f2b1e8"
down_revision = "4b7e21c0d9aa"


def upgrade() -> None:
    op.add_column("orders", sa.Column("paid", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.alter_column("orders", "paid", server_default=None)


def downgrade() -> None:
    op.drop_column("orders", "paid")
''',
}

HEAD = "9d30c6f2b1e8"
MIDDLE = "4b7e21c0d9aa"


def write(root: Path, templates: Path) -> None:
    """Write the application into an empty folder."""
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    mako = (templates / "generic" / "script.py.mako").read_text()
    (root / "alembic" / "script.py.mako").write_text(
        mako.replace("import sqlalchemy as sa\n", "import sqlalchemy as sa\nimport sqlmodel\n")
    )
