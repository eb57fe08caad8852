"""How does SQLAlchemy speak over a connection of ours? The only module of this room that knows SQLAlchemy."""

from __future__ import annotations

import sqlalchemy
from psycopg2.extensions import connection as Driver
from sqlalchemy import Engine


def engine_over(driver: Driver) -> Engine:
    """Return an SQLAlchemy engine whose one connection is `driver`."""
    return sqlalchemy.create_engine("postgresql+psycopg2://", creator=lambda: driver, poolclass=sqlalchemy.StaticPool)
