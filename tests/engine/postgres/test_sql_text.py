"""Which texts of SQL end the transaction that they run in."""

from __future__ import annotations

import pytest

from railhead.postgres.sql_text import commits, pieces


@pytest.mark.parametrize(
    "sql",
    [
        "COMMIT", "commit;", " Commit Work ", "END", "end transaction;", "COMMIT AND CHAIN", "-- first\nCOMMIT", "/* a */ COMMIT /* b */",
        "COMMIT; ALTER TYPE mood ADD VALUE 'sad'", "SELECT 1; COMMIT; BEGIN", "PREPARE TRANSACTION 'x'", "INSERT INTO t VALUES ('it''s'); COMMIT",
    ],
)  # fmt: skip
def test_what_commits_is_seen(sql: str) -> None:
    """However it is written, and wherever it stands among other statements."""
    assert commits(sql)
    assert "ROLLBACK" not in [piece.end for piece in pieces(sql)]


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO word VALUES ('COMMIT')", "SELECT 1 -- COMMIT", "SELECT 1 /* ; COMMIT; */", 'SELECT "COMMIT" FROM t', "ALTER TABLE commit ADD x int",
        "COMMENT ON TABLE t IS 'x; COMMIT; y'", "DO $$ BEGIN PERFORM 1; COMMIT; END $$", "DO $body$ BEGIN END; $body$", "SELECT CASE WHEN a THEN b END FROM t",
        "INSERT INTO t VALUES (E'it\\'s; COMMIT; ')", "COMMIT PREPARED 'x'", "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT 1; SELECT 2; END",
        "UPDATE t SET end_on = now()", "ROLLBACK TO SAVEPOINT a", "SELECT committed FROM t; SELECT 1",
    ],
)  # fmt: skip
def test_the_word_alone_means_nothing(sql: str) -> None:
    """In a text, a name, a comment or the body of a function it ends no transaction."""
    assert not commits(sql)
    assert "ROLLBACK" not in [piece.end for piece in pieces(sql)]


@pytest.mark.parametrize("sql", ["ROLLBACK", "rollback work;", "ABORT", "SELECT 1; ROLLBACK"])
def test_what_rolls_back_is_seen(sql: str) -> None:
    """It takes away what other revisions may have done before it."""
    assert "ROLLBACK" in [piece.end for piece in pieces(sql)]
    assert not commits(sql)
