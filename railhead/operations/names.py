"""What are the verbs called? Known to those, too, who only read revision files, and need no Alembic for that."""

from __future__ import annotations

REPEATABLE = frozenset(
    {
        "backfill",
        "create_check_constraint_not_valid",
        "create_foreign_key_not_valid",
        "create_index_concurrently",
        "create_primary_key_concurrently",
        "create_unique_constraint_concurrently",
        "drop_constraint_if_exists",
        "drop_index_concurrently",
        "drop_not_null",
        "set_not_null",
        "validate_constraint",
    }
)
"""Methods of `op` that leave the transaction and are safe to run again from the top."""
