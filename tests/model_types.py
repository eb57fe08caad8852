"""Which types do applications bring along? Those of their own, and such as packages for PostgreSQL have."""

from __future__ import annotations

import enum

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg


class Money(sa.TypeDecorator[int]):
    """An application's own, over an integer."""

    impl = sa.Integer
    cache_ok = True


class Cents(sa.TypeDecorator[int]):
    """As Money, and twice as wide."""

    impl = sa.BigInteger
    cache_ok = True


class Options(sa.TypeDecorator[dict[str, object]]):
    """An application's own, over jsonb."""

    impl = pg.JSONB
    cache_ok = True


class Level(enum.Enum):
    """Values that an application keeps as numbers."""

    low = 1
    high = 2


class IntEnum(sa.TypeDecorator[enum.Enum]):
    """Takes an argument that its repr does not know."""

    impl = sa.Integer
    cache_ok = True

    def __init__(self, kind: type[enum.Enum]) -> None:
        super().__init__()
        self._kind = kind


class Guid(sa.TypeDecorator[str]):
    """Another type on each kind of database, as SQLAlchemy's own recipe has it."""

    impl = sa.CHAR(32)
    cache_ok = True

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[object]:
        """Return a uuid where there is one."""
        return dialect.type_descriptor(pg.UUID() if dialect.name == "postgresql" else sa.CHAR(32))


class AutoString(sa.TypeDecorator[str]):
    """As SQLModel's: a String whose length is the database's business."""

    impl = sa.String
    cache_ok = True
    mysql_default_length = 255

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[object]:
        """Return a String of the length that was given, if one was."""
        return dialect.type_descriptor(sa.String(self.impl.length))


class Choice(sa.TypeDecorator[str]):
    """As SQLAlchemy-Utils' ChoiceType: what may be chosen is no plain value."""

    impl = sa.Unicode(255)
    cache_ok = True

    def __init__(self, choices: object, impl: sa.types.TypeEngine[str] | None = None) -> None:
        super().__init__()
        self.choices = choices
        self.impl = impl or sa.Unicode(30)


class Vector(sa.types.UserDefinedType[list[float]]):
    """As pgvector's."""

    cache_ok = True

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def get_col_spec(self, **_: object) -> str:
        """Return the type as SQL writes it."""
        return "VECTOR" if self.dim is None else f"VECTOR({self.dim})"


class Geometry(sa.types.UserDefinedType[str]):
    """As geoalchemy2's: several arguments, some of which only say how it is used."""

    cache_ok = True
    name = "varbit"

    def __init__(self, geometry_type: str | None = "GEOMETRY", srid: int = -1, spatial_index: bool = True) -> None:  # noqa: FBT002
        super().__init__()
        self.geometry_type = geometry_type
        self.srid = srid
        self.spatial_index = spatial_index

    def get_col_spec(self, **_: object) -> str:
        """Return the type as SQL writes it."""
        return f"{self.name}({abs(self.srid)})"


class Ltree(sa.types.UserDefinedType[str]):
    """Its repr is made for people, and there is no plain type below it."""

    cache_ok = True

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size

    def __repr__(self) -> str:
        """Return what nobody can read back."""
        return f"<Ltree of {self.size}>"

    def get_col_spec(self, **_: object) -> str:
        """Return the type as SQL writes it."""
        return f"varbit({self.size})"


class Loud(sa.String):
    """A String with another name."""
