"""Revision folders for the long tests."""

from __future__ import annotations

from tests.project_tree import Tree

HUNDRED = [f"{number:04}_change" for number in range(1, 101)]


def write_hundred(tree: Tree, *, goes_back: bool = True) -> None:
    """Write a hundred small revisions, each a change that cannot be made twice, and that can be taken back if it `goes_back`."""
    for number, name in enumerate(HUNDRED):
        table = f"t{number - number % 4}"
        if number % 4:
            tree.write(
                name,
                f"op.add_column('{table}', sa.Column('c{number}', sa.Text))",
                f"op.drop_column('{table}', 'c{number}')" if goes_back else "pass",
            )
        else:
            tree.write(
                name,
                f"op.create_table('{table}', sa.Column('id', sa.Integer, primary_key=True))",
                f"op.drop_table('{table}')" if goes_back else "pass",
            )


THIRTY = {
    "0001_account": """
        op.create_table("account", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text, nullable=False))
        op.execute("INSERT INTO account SELECT n, 'account ' || n FROM generate_series(1, 20000) n")
    """,
    "0002_entry": """
        op.create_table("entry", sa.Column("id", sa.Integer, primary_key=True), sa.Column("account", sa.Integer),
                        sa.Column("amount", sa.Numeric), sa.Column("booked", sa.Date))
        op.execute("INSERT INTO entry SELECT n, n, n % 97, date '2024-01-01' + n % 365 FROM generate_series(1, 20000) n")
    """,
    "0003_entry_kind": "op.add_column('entry', sa.Column('kind', sa.Text))",
    "0004_backfill_kind": "op.backfill('entry', \"kind = 'old'\", 'kind IS NULL', batch=2000)",
    "0005_index_booked": "op.create_index_concurrently('entry_booked', 'entry', ['booked'])",
    "0006_account_email": "op.add_column('account', sa.Column('email', sa.Text))",
    "0007_backfill_email": "op.backfill('account', \"email = 'a' || id || '@example.org'\", 'email IS NULL', batch=2000)",
    "0008_email_not_null": "op.set_not_null('account', 'email')",
    "0009_email_unique": "op.create_unique_constraint_concurrently('account_email_key', 'account', ['email'])",
    "0010_entry_account": "op.create_foreign_key_not_valid('entry_account', 'entry', 'account', ['account'], ['id'])",
    "0011_entry_account_valid": "op.validate_constraint('entry_account', 'entry')",
    "0012_amount_check": "op.create_check_constraint_not_valid('amount_positive', 'entry', 'amount >= 0')",
    "0013_amount_check_valid": "op.validate_constraint('amount_positive', 'entry')",
    "0014_state_type": "op.execute(\"CREATE TYPE state AS ENUM ('open', 'closed')\")",
    "0015_account_state": "op.execute(\"ALTER TABLE account ADD COLUMN state state NOT NULL DEFAULT 'open'\")",
    "0016_index_account": "op.create_index_concurrently('entry_by_account', 'entry', ['account', 'booked'])",
    "0017_tag": "op.create_table('tag', sa.Column('name', sa.Text, primary_key=True))",
    "0018_entry_tag": "op.add_column('entry', sa.Column('tag', sa.Text, sa.ForeignKey('tag.name', name='entry_tag')))",
    "0019_view": "op.execute('CREATE VIEW balance AS SELECT account, sum(amount) AS total FROM entry GROUP BY account')",
    "0020_function": "op.execute('CREATE FUNCTION one() RETURNS int LANGUAGE sql IMMUTABLE AS $$SELECT 1$$')",
    "0021_drop_index": "op.drop_index_concurrently('entry_booked', 'entry')",
    "0022_index_lower": "op.create_index_concurrently('account_name', 'account', [sa.text('lower(name)')])",
    "0023_rename": "op.alter_column('entry', 'kind', new_column_name='sort')",
    "0024_sort_not_null": "op.set_not_null('entry', 'sort')",
    "0025_rewrite": "op.alter_column('entry', 'id', type_=sa.BigInteger)",
    "0026_partial_index": "op.create_index_concurrently('entry_untagged', 'entry', ['id'], postgresql_where=sa.text('tag IS NULL'))",
    "0027_note": "op.create_table('note', sa.Column('id', sa.Integer, primary_key=True), sa.Column('text', sa.Text))",
    "0028_note_unique": "op.create_unique_constraint('note_text_key', 'note', ['text'])",
    "0029_drop_note": "op.drop_table('note')",
    "0030_backfill_sort": "op.backfill('entry', \"sort = 'older'\", \"sort = 'old'\", batch=5000)",
}
"""Ordinary changes, indexes built concurrently, validated constraints and backfills, in revisions of their own."""


def write_thirty(tree: Tree) -> None:
    """Write the thirty revisions."""
    for name, upgrade in THIRTY.items():
        tree.write(name, upgrade)
