"""Which values a new type does not keep is counted beforehand, type by type, on a real server."""

from __future__ import annotations

from contextlib import closing

import psycopg2
import pytest

from railhead.dsn import Dsn
from railhead.hazards import loss_counts
from railhead.hazards.loss import Loss
from railhead.hazards.narrowing import ALL_KEPT, misfits
from tests.databases import rows_of

COUNTED = [
    ("text", "character varying(4)", ["abcd", "abcde", None], 1),
    ("character varying(10)", "character varying(4)", ["abcd", "abcde"], 1),
    ("text", "character(2)", ["ab", "abc"], 1),
    ("bigint", "integer", ["2147483647", "2147483648", "-2147483649"], 2),
    ("integer", "smallint", ["32767", "-32768", "32768"], 1),
    ("numeric(10,2)", "numeric(10,0)", ["1.00", "1.50"], 1),
    ("numeric(10,2)", "numeric(4,2)", ["99.99", "100.00"], 1),
    ("numeric", "integer", ["5", "5.5", "3000000000"], 2),
    ("numeric", "double precision", ["0.1", "1.00000000000000000001"], 1),
    ("double precision", "real", ["0.5", "0.1", "1e300", "NaN"], 3),
    ("double precision", "numeric(6,2)", ["0.25", "0.125", "123456"], 2),
    ("bigint", "double precision", ["9007199254740992", "9007199254740993"], 1),
    ("integer", "numeric(3,0)", ["999", "1000"], 1),
    ("integer", "boolean", ["0", "1", "2"], 1),
    ("timestamp with time zone", "date", ["2024-01-01 00:00", "2024-01-01 10:00"], 1),
    ("timestamp without time zone", "timestamp(0) without time zone", ["2024-01-01 10:00:00", "2024-01-01 10:00:00.4"], 1),
    ("timestamp(3) without time zone", "timestamp(0) with time zone", ["2024-01-01 10:00:00", "2024-01-01 10:00:00.4"], 1),
    ("interval", "interval(0)", ["1 second", "1.5 seconds"], 1),
    ("text", "integer", ["12", "x", None], 1),
    ("text", "uuid", ["00000000-0000-0000-0000-000000000000", "none"], 1),
    ("bit varying(8)", "bit varying(2)", ["11", "111"], 1),
    ("inet", "cidr", ["10.0.0.0/8", "10.1.2.3/8"], 2),
    ("time with time zone", "time without time zone", ["10:00+02", None], 1),
    ("integer[]", "smallint[]", ["{1}", None], 1),
    ("jsonb", "text[]", ["[]"], 1),
]  # fmt: skip
KEPT = [
    ("integer", "bigint"),
    ("bigint", "numeric"),
    ("smallint", "numeric(10,0)"),
    ("integer", "double precision"),
    ("real", "double precision"),
    ("numeric(4,2)", "numeric(6,3)"),
    ("character varying(4)", "character varying(10)"),
    ("character(4)", "character varying(4)"),
    ("uuid", "text"),
    ("jsonb", "text"),
    ("json", "jsonb"),
    ("citext", "text"),
    ("date", "timestamp with time zone"),
    ("timestamp with time zone", "timestamp without time zone"),
    ("timestamp(0) without time zone", "timestamp(3) without time zone"),
    ("time without time zone", "time with time zone"),
    ("interval day to second", "interval"),
    ("cidr", "inet"),
    ("boolean", "integer"),
    ("integer[]", "bigint[]"),
    ("character varying(3)[]", "text[]"),
    ("integer[]", "text"),
    ("bit(4)", "bit(8)"),
]


@pytest.mark.parametrize(
    ("old", "new", "values", "lost"), COUNTED, ids=lambda each: str(each) if isinstance(each, str) else ""
)
def test_what_does_not_fit_is_counted(database: Dsn, old: str, new: str, values: list[str | None], lost: int) -> None:
    """Only values that the new type does not keep count; where nobody can tell which these are, all that are there."""
    rows_of(database, f'CREATE TABLE "T t" ("c c" {old})')
    for value in values:
        rows_of(database, f'INSERT INTO "T t" VALUES (%s::{old})', [value])
    with closing(psycopg2.connect(database)) as connection:
        connection.autocommit = True
        if connection.info.server_version < 160000 and old == "text" and not new.startswith("character"):
            lost = sum(value is not None for value in values)
        wanted = Loss('"T t"', f'type "c c" {old} to {new}')
        assert loss_counts.at_stake(connection, [wanted]) == {wanted: f"{lost} value{'' if lost == 1 else 's'}"}


@pytest.mark.parametrize(("old", "new"), KEPT)
def test_a_type_that_keeps_everything_is_no_loss(old: str, new: str) -> None:
    """What is wider, finer or only written otherwise loses nothing."""
    assert misfits("c", old, new, None, 18) == ALL_KEPT
