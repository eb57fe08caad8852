"""A URL that libpq cannot use: what is to be taken out of it is said at once, and nothing of it is repeated."""

from __future__ import annotations

import pytest

from railhead.errors import Stop
from railhead.settings import Settings


def said_of(url: str, **others: str) -> str:
    """Return what the settings say of a URL, and of others."""
    with pytest.raises(Stop) as caught:
        Settings.from_env({"DATABASE_URL": url, **others})
    assert caught.value.slug == "settings"
    return "\n".join(text for _, text in caught.value.facts)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:p@h/d?pgbouncer=true", ["take out pgbouncer (Prisma's)"]),
        ("postgresql://u:p@h/d?schema=app", ["take out schema", "options=-csearch_path%3D<schema>"]),
        (
            "postgresql://u:p@h/d?connection_limit=5&pool_timeout=10",
            ["connection_limit (Prisma's), pool_timeout (Prisma's)"],
        ),
        ("postgresql://u:p@h/d?sslmode=no-verify", ["sslmode=no-verify is sslmode=require"]),
        ("postgresql://u:p@h/d?sslmode=true", ["sslmode=true is sslmode=require"]),
        ("postgresql://u:p@h/d?ssl=require", ["write sslmode=require in the place of ssl"]),
        ("postgresql://h/d?currentSchema=app&user=u", ["currentSchema (JDBC's)", "ALTER ROLE"]),
        (
            "postgresql+asyncpg://u:p@h/d?prepared_statement_cache_size=0",
            ["prepared_statement_cache_size (another driver's)"],
        ),
        ("psql 'postgresql://u:p@h/d'", ["take out psql", "take out the quotes"]),
        ("psql postgresql://u:p@h/d", ["take out psql"]),
        ("DATABASE_URL=postgresql://u:p@h/d", ["take out DATABASE_URL="]),
        ("export DATABASE_URL='postgresql://u:p@h/d'", ["take out export DATABASE_URL=", "quotes"]),
        ("'postgresql://u:p@h/d", ["take out the quotes"]),
        ("postgresql://u:p@h/d;", ["take out the ; at its end"]),
        ("jdbc:postgresql://h/d", ["take out jdbc:"]),
        ("${{Postgres.DATABASE_URL}}", ["the reference ${{...}}"]),
        ("postgresql://u:p@${{Postgres.HOST}}:${{Postgres.PORT}}/d", ["the reference ${{...}}"]),
        ("${DATABASE_URL}", ["the reference ${{...}}"]),
        ("postgresql://postgres.abc:[YOUR-PASSWORD]@h/d", ["in the place of [...]"]),
        ("postgresql://u:<password>@h/d", ["in the place of [...]"]),
        ("host=h dbname=d", ["key=value form"]),
    ],
)
def test_what_is_to_be_taken_out_is_said(url: str, words: list[str]) -> None:
    """Words of other drivers, of shells, of platforms and of tutorials."""
    said = said_of(url)
    assert [word for word in words if word not in said] == []


def test_all_of_it_is_said_at_once() -> None:
    """Also that of another variable."""
    said = said_of(
        "psql 'postgresql://u:${PGPASS}@h/d?pgbouncer=true&schema=app&sslmode=no-verify'",
        MIGRATE_DATABASE_URL="postgresql://u:p@h/d?connection_limit=1",
    )
    for word in (
        "psql",
        "quotes",
        "reference",
        "pgbouncer",
        "schema",
        "no-verify",
        "MIGRATE_DATABASE_URL",
        "connection_limit",
    ):
        assert word in said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:12?topsecret=x@host/db",
        "postgresql://u:12?topsecret@host/db",
        "postgresql://u:12?a=topsecret&b=c@host/db",
        "topsecret",
        "psql topsecret",
        "topsecret=postgresql://h/d",
        "postgresql://u:topsecret@[::1/app",
        "postgresql://u:x@h/d?topsecret=1&sslmode=topsecret",
        "'postgresql://u:topsecret@h/d?pgbouncer=topsecret",
    ],
)
def test_nothing_of_a_url_is_repeated(url: str) -> None:
    """What is not one of our words could be a part of the password."""
    assert "topsecret" not in said_of(url)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p'q@h/d",
        "postgresql://u:${x@h/d",
        "postgresql://u:a<b>c[d]@h/d",
        "postgresql://u:p@h/d?sslmode=require&channel_binding=require&application_name=x&options=-csearch_path%3Dapp",
        "postgresql://u:p@h/d?target_session_attrs=read-write&keepalives=1&gssencmode=disable",
        "postgresql://u:p@h/d?ssl=true",
        "'postgresql://u:p@h/d'",
    ],
)
def test_a_good_url_stays_one(url: str) -> None:
    """Passwords may hold anything, and libpq's own options are libpq's."""
    assert Settings.from_env({"DATABASE_URL": url}).database is not None
