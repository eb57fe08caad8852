"""Which project is migrated, and what are the engine's own tables in it called?"""

from __future__ import annotations

VERSION_TABLE = "alembic_version"
LEDGER_TABLE = "migration_ledger"

OWN_TABLES = frozenset({VERSION_TABLE, LEDGER_TABLE})
"""The engine's own tables, which are no part of anybody's schema."""
