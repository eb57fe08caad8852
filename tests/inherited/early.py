"""The first half of the revisions of a harbour's register, as projects wrote them for plain Alembic in their first years."""

from __future__ import annotations

from tests.inherited.writing import Record

EARLY = [
    Record(
        "ships_and_berths",
        """
        op.create_table(
            "ship",
            sa.Column("id", sa.Integer(), nullable=False),
            sa.Column("name", sa.String(length=80), nullable=False),
            sa.Column("imo", sa.String(length=7), nullable=True),
            sa.Column("kind", sa.Enum("ferry", "tanker", name="ship_kind"), nullable=False),
            sa.Column("registered", sa.DateTime(), server_default=sa.text("now()"), nullable=True),
            sa.PrimaryKeyConstraint("id"),
        )
        op.create_table(
            "berth",
            sa.Column("id", sa.Integer(), nullable=False),
            sa.Column("number", sa.SmallInteger(), nullable=False),
            sa.Column("ship_id", sa.Integer(), nullable=True),
            sa.ForeignKeyConstraint(["ship_id"], ["ship.id"], ondelete="SET NULL"),
            sa.PrimaryKeyConstraint("id", name=op.f("berth_pkey")),
            sa.UniqueConstraint("number"),
        )
        """,
        """
        op.drop_table("berth")
        op.drop_table("ship")
        sa.Enum(name="ship_kind").drop(op.get_bind(), checkfirst=False)
        """,
        file="2019_04_02_0941-{id}_{name}.py",
    ),
    Record(
        "imo_is_unique",
        'op.create_unique_constraint(None, "ship", ["imo"])',
        'op.drop_constraint("uq_ship_imo", "ship", type_="unique")',
        form="typed",
    ),
    Record(
        "tonnage",
        """
        op.add_column("ship", sa.Column("tonnage", sa.Numeric(10, 2), server_default="0", nullable=False))
        op.create_check_constraint("tonnage_positive", "ship", "tonnage >= 0")
        """,
        'op.drop_column("ship", "tonnage")',
        file="20190410_{name}.py",
    ),
    Record(
        "ports",
        """
        op.create_table(
            "port",
            sa.Column("id", sa.Integer(), primary_key=True),
            sa.Column("code", sa.String(5), unique=True),
            sa.Column("country", sa.CHAR(2), index=True, nullable=False, server_default="xx"),
            sa.Column("depth", sa.Float(), sa.CheckConstraint("depth > 0", name="deep")),
        )
        """,
        'op.drop_table("port")',
        form="tuple",
    ),
    Record(
        "port_rows",
        """
        op.bulk_insert(
            port,
            [
                {"id": 1, "code": "NLRTM", "country": "nl", "depth": 24.0},
                {"id": 2, "code": "DEHAM", "country": "de", "depth": 15.1},
                {"id": 3, "code": "5% :x", "country": "xx", "depth": None},
            ],
        )
        op.execute("SELECT setval('port_id_seq', 3)")
        """,
        "op.execute(port.delete().where(port.c.id.in_([1, 2, 3])))",
        top="""
        port = sa.sql.table(
            "port", sa.sql.column("id", sa.Integer), sa.sql.column("code"), sa.sql.column("country"), sa.sql.column("depth")
        )
        """,
    ),
    Record(
        "home_port",
        """
        op.add_column("ship", sa.Column("home_id", sa.Integer(), nullable=True))
        op.create_foreign_key(None, "ship", "port", ["home_id"], ["id"])
        op.create_index(op.f("ix_ship_home_id"), "ship", ["home_id"], unique=False)
        """,
        """
        op.drop_index(op.f("ix_ship_home_id"), table_name="ship")
        op.drop_constraint("fk_ship_home_id_port", "ship", type_="foreignkey")
        op.drop_column("ship", "home_id")
        """,
    ),
    Record(
        "kind_coaster",
        """
        with op.get_context().autocommit_block():
            op.execute("ALTER TYPE ship_kind ADD VALUE IF NOT EXISTS 'coaster'")
        """,
        form="typed",
        message="a kind of ship: the coaster",
    ),
    Record(
        "ship_rows",
        """
        bind = op.get_bind()
        for name, kind in SHIPS.items():
            bind.execute(sa.text("INSERT INTO ship (name, kind, registered) VALUES (:name, :kind, '2019-05-01')"), {"name": name, "kind": kind})
        assert bind.execute(sa.text("SELECT count(*) FROM ship")).scalar() == len(SHIPS)
        """,
        'op.execute("DELETE FROM ship")',
        top="from harbour.kinds import SHIPS",
    ),
    Record(
        "kind_barge",
        """
        op.execute("COMMIT")
        op.execute("ALTER TYPE ship_kind ADD VALUE 'barge'")
        """,
        "raise NotImplementedError()",
        message="PostgreSQL adds no value to an enum inside of a transaction",
    ),
    Record(
        "barge_rows",
        "op.execute(\"INSERT INTO ship (name, kind, registered) VALUES ('Elbe 7', 'barge', '2019-05-02')\")",
        "op.execute(\"DELETE FROM ship WHERE kind = 'barge'\")",
    ),
    Record(
        "name_index",
        """
        with op.get_context().autocommit_block():
            op.create_index("ix_ship_name", "ship", ["name"], postgresql_concurrently=True)
        """,
        'op.drop_index("ix_ship_name", table_name="ship")',
        form="typed",
    ),
    Record(
        "flag_if_missing",
        """
        if "flag" not in columns_of("ship"):
            op.add_column("ship", sa.Column("flag", sa.String(2)))
        """,
        'op.drop_column("ship", "flag")',
        top="""
        def columns_of(table):
            inspector = sa.inspect(op.get_bind().engine)
            return {column["name"] for column in inspector.get_columns(table)}
        """,
    ),
    Record(
        "flag_code",
        """
        if WORD.match("ab"):
            op.alter_column("ship", "flag", existing_type=sa.String(2), type_=sa.String(3))
        """,
        'op.alter_column("ship", "flag", existing_type=sa.String(3), type_=sa.String(2))',
        top="""
        import re
        import warnings

        from sqlalchemy.ext.declarative import declarative_base

        import harbour.old

        Base = declarative_base()
        WORD = re.compile("\\w+")
        warnings.warn("this file is from another age", stacklevel=1)
        """,
    ),
    Record(
        "captains",
        """
        op.create_table(
            "captain",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("name", sa.Unicode(60), nullable=False),
            sa.Column("ship_id", sa.Integer, sa.ForeignKey("ship.id", ondelete="CASCADE")),
        )
        session = Session(bind=op.get_bind())
        for ship in session.query(Ship).order_by(Ship.id):
            session.add(Captain(name="of " + ship.name, ship_id=ship.id))
        session.commit()
        """,
        'op.drop_table("captain")',
        top="""
        from sqlalchemy.orm import Session, declarative_base

        Base = declarative_base()


        class Ship(Base):
            __tablename__ = "ship"
            id = sa.Column(sa.Integer, primary_key=True)
            name = sa.Column(sa.String)


        class Captain(Base):
            __tablename__ = "captain"
            id = sa.Column(sa.Integer, primary_key=True)
            name = sa.Column(sa.String)
            ship_id = sa.Column(sa.Integer)
        """,
    ),
    Record(
        "fleet_view",
        '''
        op.execute(
            """
            CREATE VIEW fleet AS
            SELECT kind, count(*) AS ships, sum(tonnage) AS tonnage FROM ship WHERE name NOT LIKE '%;%' GROUP BY kind
            """
        )
        op.execute(
            """
            CREATE FUNCTION note_ship() RETURNS trigger AS $$
            BEGIN
                -- COMMIT would be wrong here; NEW is what counts
                NEW.name := trim(NEW.name); RETURN NEW;
            END; $$ LANGUAGE plpgsql;
            CREATE TRIGGER ship_noted BEFORE INSERT OR UPDATE ON ship FOR EACH ROW EXECUTE PROCEDURE note_ship();
            """
        )
        ''',
        """
        op.execute("DROP TRIGGER ship_noted ON ship; DROP FUNCTION note_ship(); DROP VIEW fleet")
        """,
    ),
    Record(
        "customs",
        """
        op.execute("CREATE SCHEMA IF NOT EXISTS customs")
        op.create_table(
            "declaration",
            sa.Column("id", sa.BigInteger(), autoincrement=True, nullable=False),
            sa.Column("ship_id", sa.Integer(), nullable=False),
            sa.Column("weight", sa.Integer(), nullable=True),
            sa.Column("text", sa.Text(), nullable=True, comment="what the captain said"),
            sa.ForeignKeyConstraint(("ship_id",), ["ship.id"], name="fk_declaration_ship"),
            sa.PrimaryKeyConstraint("id"),
            schema="customs",
        )
        op.create_index(None, "declaration", ["ship_id"], schema="customs")
        op.execute("INSERT INTO customs.declaration (ship_id, weight, text) SELECT id, 7, 'COMMIT; said ' || name FROM ship ORDER BY id")
        """,
        """
        op.drop_table("declaration", schema="customs")
        op.execute("DROP SCHEMA customs")
        """,
    ),
    Record(
        "weight_is_big",
        """
        op.alter_column("declaration", "weight", existing_type=sa.Integer(), type_=sa.BigInteger(), existing_nullable=True, schema="customs")
        op.alter_column("declaration", "text", new_column_name="said", schema="customs")
        """,
        """
        op.alter_column("declaration", "said", new_column_name="text", schema="customs")
        op.alter_column("declaration", "weight", type_=sa.Integer(), schema="customs")
        """,
        form="typed",
    ),
    Record(
        "convoys",
        """
        op.create_table(
            "convoy",
            sa.Column("id", sa.Integer, primary_key=True),
            sa.Column("leader_id", sa.Integer, sa.ForeignKey("ship.id", deferrable=True, initially="DEFERRED")),
            sa.Column("after_id", sa.Integer, sa.ForeignKey("convoy.id", deferrable=True, initially="DEFERRED", use_alter=True)),
        )
        """,
        'op.drop_table("convoy")',
    ),
    Record(
        "convoy_rows",
        """
        op.execute("INSERT INTO convoy (id, leader_id, after_id) SELECT 1, min(id), 2 FROM ship")
        op.execute("INSERT INTO convoy (id, leader_id, after_id) SELECT 2, max(id), NULL FROM ship")
        op.execute("commit")
        """,
        'op.execute("DELETE FROM convoy")',
    ),
    Record(
        "convoy_note",
        'op.add_column("convoy", sa.Column("note", sa.Text(), server_default=""))',
        'op.drop_column("convoy", "note")',
    ),
    Record(
        "berth_length",
        """
        with op.batch_alter_table("berth", schema=None) as batch_op:
            batch_op.add_column(sa.Column("length", sa.Integer(), nullable=True))
            batch_op.add_column(sa.Column("covered", sa.Boolean(), nullable=False, server_default=sa.false()))
            batch_op.create_check_constraint("long_enough", "length > 10")
            batch_op.create_index(batch_op.f("ix_berth_length"), ["length"], unique=False)
        """,
        """
        with op.batch_alter_table("berth", schema=None) as batch_op:
            batch_op.drop_index(batch_op.f("ix_berth_length"))
            batch_op.drop_column("covered")
            batch_op.drop_column("length")
        """,
        form="typed",
    ),
    Record(
        "tides",
        'op.create_table("tide", sa.Column("at", sa.DateTime(timezone=True), primary_key=True), sa.Column("height", sa.REAL()))',
        'op.drop_table("tide")',
        label="pilots",
    ),
    Record(
        "tide_source",
        'op.add_column("tide", sa.Column("source", sa.VARCHAR(), nullable=True))',
        'op.drop_column("tide", "source")',
    ),
    Record(
        "cranes",
        """
        op.create_table("crane", sa.Column("id", sa.Integer, primary_key=True), sa.Column("berth_id", sa.Integer, sa.ForeignKey("berth.id")))
        op.create_table("crane_tide", sa.Column("crane_id", sa.Integer, sa.ForeignKey("crane.id"), primary_key=True), sa.Column("at", sa.DateTime(timezone=True), sa.ForeignKey("tide.at"), primary_key=True))
        """,
        """
        op.drop_table("crane_tide")
        op.drop_table("crane")
        """,
        after=("berth_length",),
        needs="tides",
    ),
    Record(
        "crane_reach",
        """
        op.add_column("crane", sa.Column("reach", postgresql.DOUBLE_PRECISION(precision=53), nullable=True))
        op.execute(crane.update().where(crane.c.reach == None).values(reach=40))  # noqa: E711
        op.alter_column("crane", "reach", nullable=False)
        """,
        'op.drop_column("crane", "reach")',
        top='crane = sa.table("crane", sa.column("id"), sa.column("reach", sa.Float))',
    ),
    Record(
        "lights",
        """
        light = op.create_table("light", sa.Column("name", sa.Text(), primary_key=True), sa.Column("blinks", sa.Interval(), nullable=False))
        op.bulk_insert(light, [{"name": name, "blinks": timedelta(seconds=WORDS.index(name))} for name in WORDS])
        """,
        'op.drop_table("light")',
        top="from datetime import timedelta\n\nfrom migrations.words import WORDS",
        is_root=True,
        label="lights",
    ),
    Record(
        "pilots_and_cranes", "pass", after=("tide_source", "crane_reach", "lights"), message="merge heads", form="typed"
    ),
    Record(
        "umlauts",
        """
        op.add_column("port", sa.Column("spelt", sa.Text()))
        op.execute("UPDATE port SET spelt = 'Köln-Niehl' WHERE id = 2")  # wie man es dort schreibt: nicht Koeln
        """,
        'op.drop_column("port", "spelt")',
        encoding="latin-1",
        message="Häfen heißen, wie sie heißen",
    ),
    Record(
        "windows",
        'op.add_column("port", sa.Column("opened", sa.Date()))',
        'op.drop_column("port", "opened")',
        encoding="utf-8-sig",
        newline="\r\n",
        message="saved on Windows, with its mark — and its ends of lines",
    ),
    Record(
        "extra_values",
        """
        op.execute("COMMIT")
        op.execute("ALTER TYPE ship_kind ADD VALUE IF NOT EXISTS 'tug' BEFORE 'tanker'")
        op.execute("BEGIN")
        op.execute("UPDATE ship SET kind = 'tug' WHERE name = 'Puffin'")
        """,
        message="the new value is used in the same file",
    ),
    Record(
        "defaults",
        """
        op.alter_column("ship", "flag", server_default="")
        op.alter_column("port", "country", server_default=None)
        op.alter_column("port", "depth", server_default=sa.text("1.5"), existing_type=sa.Float())
        op.alter_column("berth", "covered", server_default=sa.sql.expression.true(), existing_type=sa.Boolean())
        """,
        """
        op.alter_column("berth", "covered", server_default=sa.false())
        op.alter_column("port", "depth", server_default=None)
        op.alter_column("port", "country", server_default="xx")
        op.alter_column("ship", "flag", server_default=None)
        """,
    ),
]
