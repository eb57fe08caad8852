"""The migration engine: brings a PostgreSQL database to the head of its Alembic history, safely, at every start."""
