"""Which changes do models go through? One record a kind: the models before and after, and what is in the tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from tests import model_types as own

Item = sa.schema.SchemaItem | Callable[[sa.Table], object]
Build = Callable[[sa.MetaData], object]


class Change(NamedTuple):
    """One kind of change."""

    before: Sequence[Build]
    after: Sequence[Build]
    rows: str = ""
    """SQL that fills the tables."""
    first: str = ""
    """SQL that is there before the tables."""
    beside: str = ""
    """SQL that makes what stands beside the tables, and the models do not speak of."""
    said: str | None = None
    """Where it is not done: a pattern for what is said instead, in the files, in the refusal and in what is logged."""
    named: bool | None = True
    """Whether the models name their constraints by a convention; None: only afterwards."""
    apart: bool = False
    """Whether each table has a MetaData of its own."""
    gap: str | None = None
    """Why the schema afterwards is not, line by line, what `create_all` makes."""
    back_gap: str | None = None
    """Why the way back does not lead to the same lines."""


def C(name: str, type_: object, *items: object, **options: object) -> sa.Column[Any]:  # noqa: N802
    """A column, in few letters."""
    return sa.Column(name, type_, *items, **options)  # type: ignore[call-overload,no-any-return]


def bare(name: str, *items: Item, **options: object) -> Build:
    """A table with these items; a function gets the table and returns what belongs to it."""

    def build(metadata: sa.MetaData) -> None:
        columns = [item._copy() for item in items if isinstance(item, sa.schema.SchemaItem)]  # type: ignore[attr-defined]
        table = sa.Table(name, metadata, *columns, **options)  # type: ignore[arg-type]
        for item in items:
            if not isinstance(item, sa.schema.SchemaItem):
                part = item(table)
                if isinstance(part, sa.Constraint) and getattr(part, "parent", None) is None:
                    table.append_constraint(part)

    return build


def x(*items: Item, **options: object) -> Build:
    """A table `x` with a numbered id and `a`."""
    identity = C("id", sa.BigInteger, sa.Identity(), primary_key=True)
    return bare("x", identity, C("a", sa.Integer), *items, **options)


def to(before: Sequence[Item], after: Sequence[Item], **more: Any) -> Change:
    """A change of what `x` has beside its id and `a`."""
    return Change([x(*before)], [x(*after)], **{"rows": THREE, **more})


def unique(*columns: str, **options: Any) -> Callable[[sa.Table], object]:
    """A unique constraint."""
    return lambda _table: sa.UniqueConstraint(*columns, **options)


def exclude(*parts: Any, **options: Any) -> Callable[[sa.Table], object]:
    """An exclusion constraint: pairs of a column, or of what makes an expression of the table, and an operator."""
    return lambda table: pg.ExcludeConstraint(
        *((part(table), operator) if callable(part) else (part, operator) for part, operator in parts), **options
    )


def index(name: str, *parts: Any, **options: Any) -> Callable[[sa.Table], object]:
    """An index."""
    return lambda table: sa.Index(
        name, *(table.c[part] if isinstance(part, str) else part(table.c) for part in parts), **options
    )


THREE = "INSERT INTO x (a) VALUES (1), (2), (3)"
GIST = "CREATE EXTENSION btree_gist"
VECTOR = "CREATE EXTENSION vector"
during = C("during", pg.TSTZRANGE)
text, number = C("t", sa.Text), C("n", sa.Integer)
status = ("one", "two", "three", "four")


def kind(count: int, **options: Any) -> sa.Enum:
    """An enum of the first values."""
    return sa.Enum(*status[:count], **{"name": "kind", **options})


def plain_enum(count: int, **options: Any) -> sa.Enum:
    """One that is a text with a check."""
    return kind(count, **{"native_enum": False, "create_constraint": True, "length": 20, **options})


serial = bare("x", C("id", sa.Integer, primary_key=True), C("a", sa.Integer))
big_serial = bare("x", C("id", sa.BigInteger, primary_key=True), C("a", sa.Integer))
identity = bare("x", C("id", sa.Integer, sa.Identity(), primary_key=True), C("a", sa.Integer))
always = bare("x", C("id", sa.Integer, sa.Identity(always=True), primary_key=True), C("a", sa.Integer))
big_identity = bare("x", C("id", sa.BigInteger, sa.Identity(), primary_key=True), C("a", sa.Integer))
unnumbered = bare("x", C("id", sa.Integer, primary_key=True, autoincrement=False), C("a", sa.Integer))
LONG = "organisation_membership_invitation_reminders"
code = C("code", sa.String(9), unique=True)


def org(*items: Item) -> Build:
    """A table that others refer to."""
    return bare("org", C("id", sa.Integer, primary_key=True), *items)


def person(*items: Item) -> Build:
    """A table that refers to it."""
    return bare("person", C("id", sa.Integer, primary_key=True), *items)


def schema_table(name: str, *items: Item) -> Build:
    """A table in a schema."""
    return bare(name, C("id", sa.BigInteger, sa.Identity(), primary_key=True), *items, schema="billing")


def domain(check: str = "VALUE > 0", **options: Any) -> pg.DOMAIN:
    """A domain."""
    return pg.DOMAIN("positive", sa.Integer, check=sa.text(check), **options)


def sequence(metadata: sa.MetaData) -> None:
    """A sequence that belongs to no column."""
    sa.Sequence("x_number", metadata=metadata)


NUMBERED = C("n", sa.Integer, server_default=sa.text("nextval('x_number')"))

TYPES = {
    "own type over a plain one": to([], [C("m", own.Money)]),
    "own type over a plain one, in a new table": Change(
        [x()], [x(), bare("line", C("id", sa.Integer, primary_key=True), C("m", own.Money), C("o", own.Options))], THREE
    ),
    "own type over jsonb": to([], [C("o", own.Options)]),
    "own type with an argument of its own": to([], [C("l", own.IntEnum(own.Level))]),
    "own type that is another on each database": to([], [C("g", own.Guid)]),
    "own type, NOT NULL, with a default in Python": to([], [C("m", own.Money, default=0, nullable=False)]),
    "own type, NOT NULL afterwards": to([C("m", own.Money, default=0)], [C("m", own.Money, default=0, nullable=False)]),
    "own type for a plain one": to([C("m", sa.Integer)], [C("m", own.Money)]),
    "own type for another own type": to([C("m", own.Money)], [C("m", own.Cents)]),
    "own type dropped": to([C("m", own.Money)], []),
    "array of an own type": to([], [C("m", pg.ARRAY(own.Money))]),
    "SQLModel's AutoString": to([], [C("s", own.AutoString)]),
    "SQLModel's AutoString with a length": to([], [C("s", own.AutoString(length=40))]),
    "SQLModel's AutoString, longer": to([C("s", own.AutoString(40))], [C("s", own.AutoString(50))]),
    "SQLAlchemy-Utils' ChoiceType": to([], [C("c", own.Choice([("a", object())]))]),
    "a class of one's own that is a String": to([], [C("l", own.Loud(20))]),
    "pgvector's Vector": to([], [C("v", own.Vector(3))], first=VECTOR),
    "pgvector's Vector with an index": to(
        [],
        [
            C("v", own.Vector(3)),
            index(
                "ix_x_v", "v", postgresql_using="hnsw", postgresql_with={"m": 16}, postgresql_ops={"v": "vector_l2_ops"}
            ),
        ],
        first=VECTOR,
    ),
    "pgvector's Vector, of another size": to([C("v", own.Vector(3))], [C("v", own.Vector(4))], first=VECTOR),
    "pgvector's Vector in a new table": Change(
        [x()], [x(), bare("y", C("id", sa.Integer, primary_key=True), C("v", own.Vector(3)))], THREE, VECTOR
    ),
    "geoalchemy2's Geometry": to([], [C("g", own.Geometry("POINT", srid=4326, spatial_index=False))]),
    "a type whose repr is not how it is made": to([], [C("l", own.Ltree(8))]),
    "variant of a type": to([], [C("j", sa.JSON().with_variant(pg.JSONB(), "postgresql"))]),
    "PostgreSQL's own types": to(
        [],
        [
            C("i", pg.INET),
            C("r", pg.DATERANGE),
            C("v", pg.TSVECTOR),
            C("b", pg.BIT(3)),
            C("d", pg.INTERVAL(fields="DAY")),
        ],
    ),
    "SQLAlchemy's less usual types": to(
        [], [C("p", sa.PickleType), C("d", sa.Interval), C("b", sa.LargeBinary), C("m", sa.MetaData and sa.Time)]
    ),
}

KEYS = {
    "primary key, from two columns to a number": Change(
        [bare("x", C("p", sa.Integer, primary_key=True, autoincrement=False), C("t", sa.String(20), primary_key=True))],
        [
            bare(
                "x",
                C("id", sa.BigInteger, sa.Identity(always=True), primary_key=True),
                C("p", sa.Integer, nullable=False),
                C("t", sa.String(20), nullable=False),
                unique("p", "t"),
            )
        ],
        "INSERT INTO x VALUES (1, 'a'), (1, 'b')",
    ),
    "primary key, one more column": Change(
        [bare("x", C("p", sa.Integer, primary_key=True, autoincrement=False), C("q", sa.Integer, nullable=False))],
        [bare("x", C("p", sa.Integer, primary_key=True), C("q", sa.Integer, primary_key=True))],
        "INSERT INTO x VALUES (1, 1), (2, 1)",
    ),
    "primary key, another column": Change(
        [bare("x", C("p", sa.Integer, primary_key=True, autoincrement=False), C("q", sa.Integer))],
        [bare("x", C("p", sa.Integer, nullable=False), C("q", sa.Integer, primary_key=True, autoincrement=False))],
        "INSERT INTO x VALUES (1, 1), (2, 2)",
    ),
    "primary key under another name": Change(
        [bare("x", C("p", sa.Integer), lambda _: sa.PrimaryKeyConstraint("p", name="old"))],
        [bare("x", C("p", sa.Integer), lambda _: sa.PrimaryKeyConstraint("p", name="new"))],
        "INSERT INTO x VALUES (1), (2)",
    ),
    "primary key where there was none": Change(
        [bare("x", C("p", sa.Integer, nullable=False))],
        [bare("x", C("p", sa.Integer, primary_key=True, autoincrement=False))],
        "INSERT INTO x VALUES (1), (2)",
    ),
    "primary key dropped": Change(
        [bare("x", C("p", sa.Integer, primary_key=True, autoincrement=False))],
        [bare("x", C("p", sa.Integer, nullable=False))],
        "INSERT INTO x VALUES (1), (2)",
    ),
    "primary key that foreign keys need": Change(
        [
            bare("x", C("p", sa.Integer, primary_key=True, autoincrement=False), C("q", sa.Integer, nullable=False)),
            person(C("p", sa.Integer, sa.ForeignKey("x.p"))),
        ],
        [
            bare(
                "x",
                C("p", sa.Integer, nullable=False, unique=True),
                C("q", sa.Integer, primary_key=True, autoincrement=False),
            ),
            person(C("p", sa.Integer, sa.ForeignKey("x.p"))),
        ],
        "INSERT INTO x VALUES (1, 1); INSERT INTO person (p) VALUES (1)",
        said="foreign key",
    ),
    "primary key, integer to uuid": Change(
        [serial],
        [bare("x", C("id", sa.Uuid, primary_key=True, server_default=sa.func.gen_random_uuid()), C("a", sa.Integer))],
        THREE,
        said="no value of id can become",
    ),
    "primary key, integer to bigint, serial": Change([serial], [big_serial], THREE),
    "primary key, integer to bigint, identity": Change([identity], [big_identity], THREE),
    "primary key and its foreign key, to bigint": Change(
        [serial, person(C("x_id", sa.Integer, sa.ForeignKey("x.id"), index=True))],
        [big_serial, person(C("x_id", sa.BigInteger, sa.ForeignKey("x.id"), index=True))],
        THREE + "; INSERT INTO person (x_id) VALUES (1), (2)",
    ),
    "serial to identity": Change([serial], [identity], THREE),
    "serial to identity, and bigint": Change([serial], [big_identity], THREE),
    "identity to serial": Change([identity], [serial], THREE),
    "serial to nothing": Change([serial], [unnumbered], THREE),
    "nothing to serial": Change([unnumbered], [serial], "INSERT INTO x VALUES (1, 1), (2, 2)"),
    "identity to nothing": Change([identity], [unnumbered], THREE),
    "nothing to identity": Change([unnumbered], [identity], "INSERT INTO x VALUES (1, 1), (2, 2)"),
    "identity, by default to always": Change([identity], [always], THREE),
    "identity, other steps": Change(
        [identity],
        [bare("x", C("id", sa.Integer, sa.Identity(start=10, increment=5), primary_key=True), C("a", sa.Integer))],
        THREE,
    ),
}

RULES = {
    "exclusion": to([during], [during, exclude(("a", "="), ("during", "&&"), name="ex_x")], first=GIST),
    "exclusion dropped": to([during, exclude(("a", "="), ("during", "&&"), name="ex_x")], [during], first=GIST),
    "exclusion changed": to(
        [during, exclude(("a", "="), ("during", "&&"), name="ex_x")],
        [during, exclude(("a", "="), ("during", "&&"), name="ex_x", where=sa.text("a > 1"))],
        first=GIST,
    ),
    "exclusion, deferrable": to(
        [during, exclude(("during", "&&"), name="ex_x")],
        [during, exclude(("during", "&&"), name="ex_x", deferrable=True, initially="DEFERRED")],
        rows="INSERT INTO x (during) VALUES ('[2020-01-01,2020-01-02)')",
    ),
    "exclusion with all that there is, in a new table": Change(
        [x()],
        [
            x(),
            bare(
                "bk",
                C("id", sa.Integer, primary_key=True),
                C("f", sa.DateTime(timezone=True)),
                C("u", sa.DateTime(timezone=True)),
                C("net", pg.INET),
                exclude((lambda t: sa.func.tstzrange(t.c.f, t.c.u), "&&"), name="ex_bk"),
                exclude(
                    ("net", "&&"),
                    name="ex_net",
                    ops={"net": "inet_ops"},
                    where=sa.text("net IS NOT NULL"),
                    deferrable=True,
                    initially="DEFERRED",
                ),
            ),
        ],
        THREE,
        GIST,
    ),
    "exclusion without a name": to([during], [during, exclude(("during", "&&"))], rows="", named=False),
    "computed column added": to([], [C("b", sa.Integer, sa.Computed("a * 2", persisted=True))]),
    "computed column changed": to(
        [C("b", sa.Integer, sa.Computed("a * 2", persisted=True))],
        [C("b", sa.Integer, sa.Computed("a * 3", persisted=True))],
    ),
    "computed column dropped": to([C("b", sa.Integer, sa.Computed("a * 2", persisted=True))], []),
    "computed column becomes a plain one": to(
        [C("b", sa.Integer, sa.Computed("a * 2", persisted=True))], [C("b", sa.Integer)]
    ),
    "plain column becomes computed": to(
        [C("b", sa.Integer)], [C("b", sa.Integer, sa.Computed("a * 2", persisted=True))]
    ),
    "plain column becomes computed, and is indexed": to(
        [C("b", sa.Integer, index=True)], [C("b", sa.Integer, sa.Computed("a * 2", persisted=True), index=True)]
    ),
    "computed column of another type": to(
        [C("b", sa.Integer, sa.Computed("a * 2", persisted=True))],
        [C("b", sa.BigInteger, sa.Computed("a * 2", persisted=True))],
    ),
    "computed column, search vector": to(
        [text], [text, C("v", pg.TSVECTOR, sa.Computed("to_tsvector('english', t)", persisted=True))]
    ),
    "computed column, written otherwise, the same": to(
        [C("b", sa.Integer, sa.Computed("a * 2", persisted=True))],
        [C("b", sa.Integer, sa.Computed("(x.a)*2", persisted=True))],
    ),
    "check as a column expression": to([], [lambda t: sa.CheckConstraint(t.c.a < 10, name="lim")]),
    "check as a column expression, changed": to(
        [lambda t: sa.CheckConstraint(t.c.a < 10, name="lim")], [lambda t: sa.CheckConstraint(t.c.a < 100, name="lim")]
    ),
    "check as a column expression with a list": to(
        [text, lambda t: sa.CheckConstraint(t.c.t.in_(["a"]), name="lim")],
        [text, lambda t: sa.CheckConstraint(t.c.t.in_(["a", "b'%"]), name="lim")],
    ),
    "check in other words, the same": to(
        [sa.CheckConstraint("a<10 AND a <>7", name="lim")],
        [lambda t: sa.CheckConstraint(sa.and_(t.c.a < 10, t.c.a != 7), name="lim")],
    ),
    "check under another name": to(
        [sa.CheckConstraint("a < 10", name="lim")], [sa.CheckConstraint("a < 10", name="top")]
    ),
    "check on a new enum value": Change(
        [x(C("k", kind(2)), sa.CheckConstraint("a > 0", name="pos"))],
        [x(C("k", kind(3)), sa.CheckConstraint("k <> 'three' OR a > 0", name="pos"))],
        THREE,
    ),
    "check of a boolean": to(
        [], [C("f", sa.Boolean(create_constraint=True, name="f_bool"), server_default=sa.false())]
    ),
    "checks of enum and boolean, nothing changed": to(
        [C("k", plain_enum(2)), C("f", sa.Boolean(create_constraint=True, name="f_bool"))],
        [C("k", plain_enum(2)), C("f", sa.Boolean(create_constraint=True, name="f_bool"))],
    ),
    "foreign key, MATCH FULL": Change(
        [org(), person(C("org_id", sa.Integer, sa.ForeignKey("org.id")))],
        [org(), person(C("org_id", sa.Integer, sa.ForeignKey("org.id", match="FULL")))],
        "INSERT INTO org DEFAULT VALUES; INSERT INTO person (org_id) VALUES (1)",
    ),
    "foreign key under another name": Change(
        [org(), person(C("org_id", sa.Integer, sa.ForeignKey("org.id", name="old")))],
        [org(), person(C("org_id", sa.Integer, sa.ForeignKey("org.id", name="new")))],
        "INSERT INTO org DEFAULT VALUES; INSERT INTO person (org_id) VALUES (1)",
    ),
    "foreign key, deferrable afterwards": Change(
        [org(), person(C("org_id", sa.Integer, sa.ForeignKey("org.id")))],
        [org(), person(C("org_id", sa.Integer, sa.ForeignKey("org.id", deferrable=True, initially="DEFERRED")))],
        "INSERT INTO org DEFAULT VALUES; INSERT INTO person (org_id) VALUES (1)",
    ),
}

ENUMS = {
    "enum that is a text, one more value": to([C("k", plain_enum(2))], [C("k", plain_enum(3))]),
    "enum that is a text, one value less": to([C("k", plain_enum(3))], [C("k", plain_enum(2))]),
    "enum that is a text, a longer value": to(
        [C("k", plain_enum(2, length=None))], [C("k", plain_enum(3, length=None))]
    ),
    "enum that is a text, without a check": to(
        [C("k", kind(2, native_enum=False))], [C("k", kind(3, native_enum=False))]
    ),
    "enum that is a text, in a new column": to([], [C("k", plain_enum(2))]),
    "enum that is a text, in a new table": Change([x()], [x(), org(C("k", plain_enum(2)))], THREE),
    "enum that is a text, dropped": to([C("k", plain_enum(2))], []),
    "enum that is a text becomes a type": to([C("k", plain_enum(2))], [C("k", kind(2))]),
    "enum that is a type becomes a text": to([C("k", kind(2))], [C("k", plain_enum(2))]),
    "enum, one more value and the default of it": to(
        [C("k", kind(2), server_default="one")], [C("k", kind(3), server_default="three")]
    ),
    "enum, one value less, that was the default": to(
        [C("k", kind(3), server_default="three")],
        [C("k", kind(2), server_default="one")],
        rows="INSERT INTO x (k) VALUES ('one')",
    ),
    "enum, one value less, with an array of it": to(
        [C("k", kind(3), server_default="two"), C("ks", pg.ARRAY(kind(3)), server_default="{}")],
        [C("k", kind(2), server_default="one"), C("ks", pg.ARRAY(kind(2)), server_default="{}")],
    ),
    "enum, values in another order": to(
        [C("k", sa.Enum("one", "two", name="kind"))], [C("k", sa.Enum("two", "one", name="kind"))]
    ),
    "enum in a schema": Change(
        [schema_table("y")], [schema_table("y", C("k", kind(2, schema="billing")))], first="CREATE SCHEMA billing"
    ),
    "enum, array of a new one": to([], [C("ks", pg.ARRAY(kind(2)))]),
    "enum, of the dialect": to([], [C("k", pg.ENUM("one", "two", name="kind"))]),
}

DEFAULTS = {
    "integer to boolean with a default": to(
        [C("f", sa.Integer, server_default="0")], [C("f", sa.Boolean, server_default=sa.false())]
    ),
    "boolean to integer with a default": to(
        [C("f", sa.Boolean, server_default=sa.false())], [C("f", sa.Integer, server_default="0")]
    ),
    "text to timestamp with a default": to(
        [C("d", sa.String(10), server_default="")],
        [C("d", sa.DateTime, server_default=sa.func.now())],
        rows="INSERT INTO x (d) VALUES (NULL)",
    ),
    "json to jsonb with a default": to([C("j", sa.JSON, server_default="{}")], [C("j", pg.JSONB, server_default="{}")]),
    "text to enum with a default": to([C("k", sa.Text, server_default="one")], [C("k", kind(2), server_default="one")]),
    "integer to bigint with a default": to(
        [C("s", sa.Integer, server_default="0")], [C("s", sa.BigInteger, server_default="0")]
    ),
    "numeric with a default, more digits": to(
        [C("m", sa.Numeric(8, 2), server_default="0.00")], [C("m", sa.Numeric(12, 4), server_default="0.0000")]
    ),
    "varchar to text with a default": to(
        [C("t", sa.String(10), server_default="abc")], [C("t", sa.Text, server_default="abc")]
    ),
    "text to varchar with a default": to(
        [C("t", sa.Text, server_default="abc")], [C("t", sa.String(10), server_default="abc")]
    ),
    "timestamp gets a time zone, with a default": to(
        [C("d", sa.DateTime, server_default=sa.func.now())],
        [C("d", sa.DateTime(timezone=True), server_default=sa.func.now())],
    ),
    "array of another type with a default": to(
        [C("v", pg.ARRAY(sa.Integer), server_default="{}")], [C("v", pg.ARRAY(sa.BigInteger), server_default="{}")]
    ),
    "json of the dialect with a default": to([], [C("j", pg.JSON, server_default="{}", nullable=False)]),
    "json of the dialect, another default": to(
        [C("j", pg.JSON, server_default="{}")], [C("j", pg.JSON, server_default='{"a": 1}')]
    ),
    "default that PostgreSQL cannot read": to(
        [C("i", sa.Integer, server_default="0")], [C("i", sa.Integer, server_default="zero")], said="x.i.*zero"
    ),
    "default of a function that is not there": to(
        [C("i", sa.Integer, server_default="0")],
        [C("i", sa.Integer, server_default=sa.text("nosuch()"))],
        said=r"x\.i.*nosuch\(\)",
    ),
    "new column, default of a function that is not there": to(
        [], [C("i", sa.Integer, server_default=sa.text("nosuch()"))], said=r"nosuch\(\)"
    ),
    "default of a sequence": Change([x(C("n", sa.Integer))], [sequence, x(NUMBERED)], THREE),
    "default of a sequence, in a new column": Change([x()], [sequence, x(NUMBERED)], THREE),
    "default of a sequence, in a new table": Change([org()], [org(), sequence, x(NUMBERED)]),
    "default of a sequence, dropped": Change(
        [sequence, x(NUMBERED)], [x(C("n", sa.Integer))], THREE, gap="the sequence stays", said="sequence x_number"
    ),
    "default that says the type, the same": to(
        [C("t", sa.String(10), server_default="abc")],
        [C("t", sa.String(10), server_default=sa.text("'abc'::text"))],
        gap="the same in other words",
    ),
    "default of an expression": to(
        [C("d", sa.DateTime)], [C("d", sa.DateTime, server_default=sa.text("now() + interval '1 day'"))]
    ),
    "default of a boolean, in other words": to(
        [C("f", sa.Boolean, server_default="false")], [C("f", sa.Boolean, server_default=sa.false())]
    ),
    "default of jsonb, in other words": to(
        [C("j", pg.JSONB, server_default='{"a": 1}')],
        [C("j", pg.JSONB, server_default=sa.text("""'{"a":1}'::jsonb"""))],
    ),
    "default with a colon and percent signs": to([text], [C("t", sa.Text, server_default="a:b %s 100%")]),
}

WIDTHS = {
    "floats of every precision": to(
        [], [C("f", sa.Float(24)), C("g", sa.Float(53)), C("h", sa.Float(10)), C("i", sa.REAL), C("j", sa.Double)]
    ),
    "float to double": to([C("f", sa.Float(24))], [C("f", sa.Float(53))]),
    "integer to numeric": to([number], [C("n", sa.Numeric)]),
    "another collation": to([text], [C("t", sa.Text(collation="C"))]),
    "timestamp of another precision": to([C("d", pg.TIMESTAMP)], [C("d", pg.TIMESTAMP(precision=3))]),
    "varchar, shorter": to([C("t", sa.String(20))], [C("t", sa.String(10))]),
    "varchar without a length": to([C("t", sa.String(20))], [C("t", sa.String)]),
    "text to citext under a unique constraint": to(
        [C("m", sa.Text, unique=True)], [C("m", pg.CITEXT, unique=True)], first="CREATE EXTENSION citext", said="uq_x_m"
    ),
    "varchar to text under an index": to([C("t", sa.String(20), index=True)], [C("t", sa.Text, index=True)]),
    "integer to bigint under an index": to([C("n", sa.Integer, index=True)], [C("n", sa.BigInteger, index=True)]),
    "column type that a view needs": to(
        [number], [C("n", sa.BigInteger)], beside="CREATE VIEW v AS SELECT id, n FROM x"
    ),
    "column type that views of views need": to(
        [C("t", sa.String(5))],
        [C("t", sa.Text)],
        beside="CREATE VIEW v AS SELECT id, t FROM x; CREATE VIEW w AS SELECT * FROM v WHERE t > 'a'",
    ),
    "column type that a materialized view needs": to(
        [number],
        [C("n", sa.BigInteger)],
        beside="CREATE MATERIALIZED VIEW v AS SELECT id, n FROM x",
        said="materialized view v",
    ),
    "column dropped that a view needs": to([number], [], beside="CREATE VIEW v AS SELECT id, n FROM x", said="view v"),
}

NAMES_OF_THINGS = {
    "names that are too long": Change(
        [
            bare(
                "customer_subscription_payment_instruments",
                C("id", sa.Integer, primary_key=True),
                C("external_reference_identifier", sa.Text),
                C("another_rather_long_reference", sa.Text),
            )
        ],
        [
            bare(
                "customer_subscription_payment_instruments",
                C("id", sa.Integer, primary_key=True),
                C("external_reference_identifier", sa.Text),
                C("another_rather_long_reference", sa.Text),
                C("parent_id", sa.Integer, sa.ForeignKey("customer_subscription_payment_instruments.id"), index=True),
                unique("external_reference_identifier", "another_rather_long_reference"),
                sa.CheckConstraint(
                    "external_reference_identifier <> ''", name="external_reference_identifier_not_blank"
                ),
                index(None, "another_rather_long_reference", "external_reference_identifier"),
            )
        ],
        "INSERT INTO customer_subscription_payment_instruments (external_reference_identifier) VALUES ('a')",
    ),
    "unique constraint with a name that is too long": Change(
        [bare(LONG, C("id", sa.Integer, primary_key=True), C("organisation_membership_invitation_id", sa.Integer))],
        [
            bare(
                LONG,
                C("id", sa.Integer, primary_key=True),
                C("organisation_membership_invitation_id", sa.Integer, unique=True),
            )
        ],
        f"INSERT INTO {LONG} DEFAULT VALUES",
    ),
    "names that are too long, in a new table": Change(
        [x()],
        [
            x(),
            bare(
                LONG,
                C("id", sa.Integer, primary_key=True),
                C("organisation_membership_invitation_id", sa.Integer, unique=True, index=False),
                C("organisation_membership_invitation_kind", sa.Integer, index=True),
                sa.CheckConstraint("organisation_membership_invitation_kind > 0", name="organisation_membership_kind"),
            ),
        ],
        THREE,
    ),
    "names that are too long, dropped": Change(
        [
            bare(
                LONG,
                C("id", sa.Integer, primary_key=True),
                C("organisation_membership_invitation_id", sa.Integer, unique=True),
                C("organisation_membership_invitation_kind", sa.Integer, index=True),
            )
        ],
        [
            bare(
                LONG,
                C("id", sa.Integer, primary_key=True),
                C("organisation_membership_invitation_id", sa.Integer),
                C("organisation_membership_invitation_kind", sa.Integer),
            )
        ],
        f"INSERT INTO {LONG} DEFAULT VALUES",
    ),
    "a naming convention for what is there": Change(
        [org(code), person(C("org_id", sa.Integer, sa.ForeignKey("org.id")), sa.CheckConstraint("id > 0", name="pos"))],
        [org(code), person(C("org_id", sa.Integer, sa.ForeignKey("org.id")), sa.CheckConstraint("id > 0", name="pos"))],
        "INSERT INTO org (code) VALUES ('a'); INSERT INTO person (org_id) VALUES (1)",
        named=None,
    ),
    "a naming convention for a unique that a foreign key needs": Change(
        [org(code), person(C("org_code", sa.String(9), sa.ForeignKey("org.code")))],
        [org(code), person(C("org_code", sa.String(9), sa.ForeignKey("org.code")))],
        "INSERT INTO org (code) VALUES ('a'); INSERT INTO person (org_code) VALUES ('a')",
        named=None,
    ),
    "a naming convention for indexes and an enum's check": Change(
        [x(C("b", sa.Integer, index=True), C("k", plain_enum(2)))],
        [x(C("b", sa.Integer, index=True), C("k", plain_enum(2)))],
        THREE,
        named=None,
    ),
    "unique constraint under another name": to([number, unique("n", name="old")], [number, unique("n", name="new")]),
    "index under another name": to([number, index("old", "n")], [number, index("new", "n")]),
    "partial index under another name": to(
        [number, index("old", "n", postgresql_where=sa.text("n > 1"))],
        [number, index("new", "n", postgresql_where=sa.text("n > 1"))],
    ),
    "a key that is not the name": Change(
        [x(C("user_name", sa.String(20), key="userName", default="anon"))],
        [x(C("user_name", sa.String(20), key="userName", default="anon", nullable=False))],
        THREE,
    ),
    "a key that is not the name, on a new column": to(
        [], [C("user_name", sa.String(20), key="userName", default="anon", nullable=False)]
    ),
    "a key that is not the name, of another type": to(
        [C("user_no", sa.Integer, key="userNo", server_default="0")],
        [C("user_no", sa.BigInteger, key="userNo", server_default="0")],
    ),
    "a key that is not the name, indexed": to(
        [C("user_no", sa.Integer, key="userNo")], [C("user_no", sa.Integer, key="userNo", index=True, unique=False)]
    ),
}

WINDOWS = {
    "unique, NULL once only afterwards": to(
        [text, unique("t", name="uq_t")],
        [text, unique("t", name="uq_t", postgresql_nulls_not_distinct=True)],
        rows="INSERT INTO x (t) VALUES ('a')",
    ),
    "unique index, NULL once only afterwards": to(
        [text, index("ix_t", "t", unique=True)],
        [text, index("ix_t", "t", unique=True, postgresql_nulls_not_distinct=True)],
        rows="INSERT INTO x (t) VALUES ('a')",
    ),
    "unique, more than once again": to(
        [text, unique("t", name="uq_t", postgresql_nulls_not_distinct=True)],
        [text, unique("t", name="uq_t")],
        rows="INSERT INTO x (t) VALUES ('a')",
    ),
    "unique, one more column": to([text, unique("a", name="uq_a")], [text, unique("a", "t", name="uq_a")]),
    "unique, one column less": to([text, unique("a", "t", name="uq_a")], [text, unique("a", name="uq_a")]),
    "unique, another column under another name": to([number, unique("a")], [number, unique("a", "n")]),
    "unique, no longer deferrable": to(
        [unique("a", name="uq_a", deferrable=True, initially="DEFERRED")], [unique("a", name="uq_a")]
    ),
    "index becomes unique": to([index("ix_a", "a")], [index("ix_a", "a", unique=True)]),
    "unique index becomes a plain one": to([index("ix_a", "a", unique=True)], [index("ix_a", "a")]),
    "unique constraint becomes a unique index": to([unique("a", name="a_once")], [index("a_once", "a", unique=True)]),
    "unique index becomes a unique constraint": to([index("a_once", "a", unique=True)], [unique("a", name="a_once")]),
    "unique on a new column instead": to([unique("a")], [number, unique("n")]),
    "index, another operator class": to(
        [text, index("ix_t", "t")], [text, index("ix_t", "t", postgresql_ops={"t": "text_pattern_ops"})]
    ),
    "index, storage parameters": to([index("ix_a", "a")], [index("ix_a", "a", postgresql_with={"fillfactor": 50})]),
    "index, other order": to([index("ix_a", "a")], [index("ix_a", lambda c: c.a.desc())]),
    "index on an expression, another": to(
        [text, index("ix_t", lambda c: sa.func.lower(c.t))], [text, index("ix_t", lambda c: sa.func.upper(c.t))]
    ),
    "index on an expression, the same in other words": to(
        [text, index("ix_t", lambda c: sa.func.lower(c.t))], [text, index("ix_t", lambda _: sa.text("lower(t)"))]
    ),
    "index, predicate in other words": to(
        [text, index("ix_t", "t", postgresql_where=sa.text("t <> 'a'"))],
        [text, index("ix_t", "t", postgresql_where=sa.text("(t != 'a'::text)"))],
    ),
}

PLACES = {
    "table in a schema that is not there": Change([x()], [x(), schema_table("account", C("n", sa.Text))], THREE),
    "table in a schema that is there": Change(
        [x()], [x(), schema_table("account", C("n", sa.Text, index=True))], THREE, "CREATE SCHEMA billing"
    ),
    "everything on a table in a schema": Change(
        [schema_table("y", number)],
        [
            schema_table(
                "y",
                C("n", sa.BigInteger, unique=True, nullable=False),
                C("m", sa.Integer, index=True),
                sa.CheckConstraint("n > 0", name="pos"),
            )
        ],
        "INSERT INTO billing.y (n) VALUES (1)",
        "CREATE SCHEMA billing",
    ),
    "column of a domain that is not there": to([], [C("d", domain())]),
    "column of a domain that is not there, in a new table": Change([x()], [x(), org(C("d", domain()))], THREE),
    "domain, another check": to(
        [C("d", domain())], [C("d", domain("VALUE > 1"))], said="domain positive", gap="a domain is not changed"
    ),
    "domain no longer used": to([C("d", domain())], [], said="domain positive", gap="the domain stays"),
    "column of a domain of a domain's kind": to([C("d", sa.Integer)], [C("d", domain())]),
    "two metadatas": Change([x(), org()], [x(number), org(C("c", sa.Text))], THREE, apart=True),
    "two metadatas, a new table in one": Change([x()], [x(), org()], THREE, apart=True),
    "model of a view": Change(
        [x()],
        [x(), bare("v", C("id", sa.BigInteger, primary_key=True), C("a", sa.Integer), info={"is_view": True})],
        THREE,
        beside="CREATE VIEW v AS SELECT id, a FROM x",
    ),
    "model of a view, without a word": Change(
        [x()],
        [x(), bare("v", C("id", sa.BigInteger, primary_key=True), C("a", sa.Integer))],
        THREE,
        beside="CREATE VIEW v AS SELECT id, a FROM x",
    ),
    "column dropped with its unique and its checks": to(
        [
            C("b", sa.Integer, nullable=False, unique=True),
            C("c", sa.Integer, nullable=False),
            sa.CheckConstraint("b > 0 AND c > 0", name="bc"),
            index("ix_bc", "b", "c"),
        ],
        [],
        rows="INSERT INTO x (b, c) VALUES (1, 1), (2, 1)",
    ),
    "column dropped, NOT NULL, text with a check": to(
        [C("b", sa.Text, nullable=False), sa.CheckConstraint("b <> ''", name="b_some")],
        [],
        rows="INSERT INTO x (b) VALUES ('a')",
    ),
    "table dropped with its schema": Change(
        [x(), schema_table("y")],
        [x()],
        THREE,
        "CREATE SCHEMA billing",
        said="not compared.*billing.y",
    ),
    "table, unlogged": Change([x()], [x(prefixes=["UNLOGGED"])], THREE),
    "table, storage parameters": Change([x()], [x(postgresql_with={"fillfactor": 50})], THREE),
}

CHANGES: dict[str, Change] = {
    **TYPES,
    **KEYS,
    **RULES,
    **ENUMS,
    **DEFAULTS,
    **WIDTHS,
    **NAMES_OF_THINGS,
    **WINDOWS,
    **PLACES,
}
