"""The other half of the harbour's history: what was written once the register had grown, and other hands had come."""

from __future__ import annotations

from tests.inherited.writing import Record

LATE = [
    Record(
        "irreversible",
        """
        op.drop_column("port", "opened")
        op.add_column("port", sa.Column("opened", sa.Integer(), server_default=sa.text("'1900'::integer"), nullable=False))
        """,
        'raise NotImplementedError("there is no way back")',
        form="bare",
        file="0031_{name}.py",
    ),
    Record(
        "cargo",
        """
        hazard = postgresql.ENUM("none", "fire", "acid", name="hazard", create_type=False)
        hazard.create(op.get_bind(), checkfirst=True)
        op.create_table(
            "cargo",
            sa.Column("id", postgresql.UUID(as_uuid=True), server_default=sa.text("gen_random_uuid()"), primary_key=True),
            sa.Column("ship_id", sa.Integer(), sa.ForeignKey("ship.id", onupdate="CASCADE"), nullable=False, index=True),
            sa.Column("hazard", hazard, nullable=False, server_default="none"),
            sa.Column("marks", postgresql.ARRAY(sa.String()), server_default="{}", nullable=False),
            sa.Column("papers", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{\\"a\\": 1}'::jsonb")),
            sa.Column("kilograms", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
            sa.UniqueConstraint("ship_id", "marks", name="cargo_once"),
        )
        """,
        """
        op.drop_table("cargo")
        op.execute("DROP TYPE hazard")
        """,
        form="typed",
    ),
    Record(
        "cargo_rows",
        """
        connection = op.get_bind()
        ships = connection.execute(sa.text("SELECT id, name FROM ship ORDER BY id")).fetchall()
        for number, (ship, name) in enumerate(ships):
            connection.exec_driver_sql(
                "INSERT INTO cargo (id, ship_id, marks, kilograms) VALUES (%s, %s, %s, %s)",
                ("00000000-0000-0000-0000-%012d" % number, ship, [name, "100 %"], number * 1000),
            )
        """,
        'op.execute("DELETE FROM cargo")',
    ),
    Record(
        "cargo_tons",
        """
        op.add_column("cargo", sa.Column("tons", sa.Numeric(), sa.Computed("kilograms / 1000.0", persisted=True)))
        op.create_index("ix_cargo_papers", "cargo", ["papers"], postgresql_using="gin")
        op.create_index("ix_cargo_heavy", "cargo", [sa.text("kilograms DESC")], postgresql_where=sa.text("kilograms > 2000"))
        op.create_index("ix_ship_lower", "ship", [sa.text("lower(name)")], unique=True)
        """,
        """
        op.drop_index("ix_ship_lower", table_name="ship")
        op.drop_index("ix_cargo_heavy", table_name="cargo")
        op.drop_index("ix_cargo_papers", table_name="cargo")
        op.drop_column("cargo", "tons")
        """,
    ),
    Record(
        "cargo_index",
        """
        op.execute("COMMIT")
        op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_cargo_hazard ON cargo (hazard)")
        op.execute("BEGIN")
        """,
        """
        op.execute("COMMIT")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_cargo_hazard")
        """,
    ),
    Record(
        "hazard_gas",
        """
        op.execute("ALTER TYPE hazard RENAME TO hazard_old")
        new = sa.Enum("none", "fire", "acid", "gas", name="hazard")
        new.create(op.get_bind(), checkfirst=False)
        op.execute("ALTER TABLE cargo ALTER COLUMN hazard DROP DEFAULT")
        op.execute("ALTER TABLE cargo ALTER COLUMN hazard TYPE hazard USING hazard::text::hazard")
        op.execute("ALTER TABLE cargo ALTER COLUMN hazard SET DEFAULT 'none'")
        op.execute("DROP TYPE hazard_old")
        """,
        """
        op.execute("ALTER TYPE hazard RENAME TO hazard_old")
        op.execute("CREATE TYPE hazard AS ENUM ('none', 'fire', 'acid')")
        op.execute("ALTER TABLE cargo ALTER COLUMN hazard DROP DEFAULT, ALTER COLUMN hazard TYPE hazard USING hazard::text::hazard")
        op.execute("ALTER TABLE cargo ALTER COLUMN hazard SET DEFAULT 'none'")
        op.execute("DROP TYPE hazard_old")
        """,
    ),
    Record(
        "registered_zone",
        """
        op.alter_column(
            "ship",
            "registered",
            existing_type=sa.DateTime(),
            type_=sa.DateTime(timezone=True),
            postgresql_using="registered AT TIME ZONE 'UTC'",
            existing_nullable=True,
            existing_server_default=sa.text("now()"),
        )
        """,
        """
        op.alter_column("ship", "registered", type_=sa.DateTime(), postgresql_using="registered AT TIME ZONE 'UTC'")
        """,
        form="typed",
    ),
    Record(
        "masters",
        """
        op.rename_table("captain", "master")
        op.execute("ALTER SEQUENCE captain_id_seq RENAME TO master_id_seq")
        op.execute("ALTER INDEX pk_captain RENAME TO pk_master")
        op.drop_constraint("fk_captain_ship_id_ship", "master", type_="foreignkey")
        op.create_foreign_key(op.f("fk_master_ship_id_ship"), "master", "ship", ["ship_id"], ["id"], ondelete="CASCADE")
        """,
        """
        op.drop_constraint(op.f("fk_master_ship_id_ship"), "master", type_="foreignkey")
        op.create_foreign_key(op.f("fk_captain_ship_id_ship"), "master", "ship", ["ship_id"], ["id"], ondelete="CASCADE")
        op.execute("ALTER INDEX pk_master RENAME TO pk_captain")
        op.execute("ALTER SEQUENCE master_id_seq RENAME TO captain_id_seq")
        op.rename_table("master", "captain")
        """,
    ),
    Record(
        "config_asked",
        """
        if context.is_offline_mode() or op.get_context().dialect.name != "postgresql":
            raise RuntimeError("only on PostgreSQL, and only online")
        config = op.get_context().config
        wanted = config.get_main_option("harbour.fees") or context.get_x_argument(as_dictionary=True).get("fees", "yes")
        if wanted == "yes" and config.get_section(config.config_ini_section) is not None:
            op.create_table("fee", sa.Column("id", sa.Integer, sa.Identity(always=True), primary_key=True), sa.Column("cents", sa.Integer))
        """,
        'op.drop_table("fee")',
    ),
    Record(
        "fee_rules",
        """
        op.create_table_comment("fee", "what a night costs")
        op.execute(sa.schema.CreateSequence(sa.Sequence("receipt_number", start=1000)))
        op.add_column("fee", sa.Column("receipt", sa.Integer, server_default=sa.text("nextval('receipt_number'::regclass)")))
        op.create_unique_constraint(op.f("uq_fee_receipt"), "fee", ["receipt"])
        op.execute("INSERT INTO fee (cents) VALUES (500), (700)")
        """,
        """
        op.drop_column("fee", "receipt")
        op.execute("DROP SEQUENCE receipt_number")
        op.drop_table_comment("fee")
        """,
    ),
    Record(
        "fee_parts",
        """
        with op.get_bind().begin_nested():
            op.execute("ALTER TABLE fee ADD COLUMN vat integer NOT NULL DEFAULT 19")
        try:
            with op.get_bind().begin_nested():
                op.execute("ALTER TABLE fee ADD COLUMN vat integer")
        except sa.exc.ProgrammingError:
            pass
        """,
        'op.drop_column("fee", "vat")',
        message="a savepoint for what may be there already",
    ),
    Record(
        "visits",
        """
        op.execute("CREATE TABLE visit (id bigint, day date NOT NULL, ship_id int REFERENCES ship) PARTITION BY RANGE (day)")
        for year in (2019, 2020, 2021):
            op.execute(f"CREATE TABLE visit_{year} PARTITION OF visit FOR VALUES FROM ('{year}-01-01') TO ('{year + 1}-01-01')")
        op.execute("INSERT INTO visit SELECT n, date '2019-06-01' + n * 20, 1 + n % 3 FROM generate_series(1, 40) n")
        """,
        'op.execute("DROP TABLE visit")',
    ),
    Record(
        "visit_summary",
        '''
        op.execute("""
            CREATE MATERIALIZED VIEW visits_a_year AS SELECT date_part('year', day) AS year, count(*) AS visits FROM visit GROUP BY 1
        """)
        op.execute("CREATE UNIQUE INDEX visits_a_year_key ON visits_a_year (year)")
        op.execute("CREATE INDEX visit_day ON visit (day)")
        ''',
        'op.execute("DROP INDEX visit_day; DROP MATERIALIZED VIEW visits_a_year")',
    ),
    Record(
        "raw_cursor",
        """
        cursor = op.get_bind().connection.cursor()
        cursor.execute("ALTER TABLE berth ADD COLUMN depth numeric(4, 1)")
        cursor.execute("UPDATE berth SET depth = %s WHERE number > %s", (12.5, 0))
        cursor.close()
        """,
        'op.drop_column("berth", "depth")',
        form="tuple",
    ),
    Record(
        "berth_rows",
        """
        logger.info("three berths")
        berth = sa.Table("berth", sa.MetaData(), autoload_with=op.get_bind())
        op.bulk_insert(berth, [{"id": n, "number": n, "length": 20 * n, "depth": 9} for n in (1, 2, 3)], multiinsert=False)
        """,
        'op.execute("DELETE FROM berth WHERE number IN (1, 2, 3)")',
        top='import logging\n\nlogger = logging.getLogger("alembic.runtime.migration")',
    ),
    Record(
        "quays",
        """
        op.create_table("quay", sa.Column("id", sa.Integer, primary_key=True), sa.Column("name", sa.Text, unique=True, nullable=False))
        op.execute("INSERT INTO quay (name) VALUES ('north'), ('south')")
        op.add_column("berth", sa.Column("quay_id", sa.Integer(), nullable=True))
        op.execute("UPDATE berth SET quay_id = (SELECT id FROM quay WHERE name = 'north')")
        op.alter_column("berth", "quay_id", existing_type=sa.Integer(), nullable=False)
        op.create_foreign_key(None, "berth", "quay", ["quay_id"], ["id"], deferrable=True, initially="IMMEDIATE")
        """,
        """
        op.drop_column("berth", "quay_id")
        op.drop_table("quay")
        """,
        form="typed",
    ),
    Record(
        "quay_names",
        """
        bind = op.get_bind()
        session = sessionmaker(bind=bind)()
        for row in session.execute(sa.text("SELECT id, name FROM quay ORDER BY id")).all():
            session.execute(sa.text("UPDATE quay SET name = :name WHERE id = :id"), {"name": row.name.title(), "id": row.id})
        session.flush()
        """,
        'op.execute("UPDATE quay SET name = lower(name)")',
        top="from sqlalchemy.orm import sessionmaker",
    ),
    Record(
        "kind_check",
        """
        op.execute(\"\"\"
            ALTER TABLE ship ADD CONSTRAINT ck_ship_kind_tons CHECK (
                CASE
                    WHEN name = 'x' THEN tonnage > 1
                    ELSE tonnage >= 0
                END
            )
        \"\"\")
        op.execute("COMMENT ON COLUMN ship.kind IS 'see ''ship_kind''; COMMIT'")
        """,
        'op.drop_constraint(op.f("ck_ship_kind_tons"), "ship", type_="check")',
    ),
    Record(
        "crew",
        """
        op.create_table(
            "crew",
            sa.Column("ship_id", sa.Integer(), nullable=False),
            sa.Column("person", sa.Text(), nullable=False),
            sa.Column("role", sa.Enum(Role, name="crew_role", native_enum=False, create_constraint=True, length=20)),
            sa.PrimaryKeyConstraint("ship_id", "person"),
            sa.ForeignKeyConstraint(["ship_id"], ["ship.id"]),
        )
        """,
        'op.drop_table("crew")',
        top='import enum\n\n\nclass Role(enum.Enum):\n    cook = "cook"\n    mate = "mate"',
    ),
    Record(
        "crew_is_indexed",
        """
        with op.get_context().autocommit_block():
            op.create_index("ix_crew_role", "crew", ["role"], postgresql_concurrently=True, if_not_exists=True)
        op.add_column("crew", sa.Column("since", sa.Date(), server_default=sa.func.current_date()))
        """,
        """
        op.drop_column("crew", "since")
        op.drop_index("ix_crew_role", table_name="crew")
        """,
        message="an index beside the traffic, and a column behind it",
    ),
    Record(
        "search_words",
        """
        op.execute("SET LOCAL lock_timeout = '5s'")
        op.execute("ALTER TABLE ship ADD COLUMN words tsvector")
        op.execute("UPDATE ship SET words = to_tsvector('english', name)")
        op.create_index("ix_ship_words", "ship", ["words"], postgresql_using="gin", postgresql_with={"fastupdate": "off"})
        """,
        'op.drop_column("ship", "words")',
    ),
    Record(
        "fee_commit",
        """
        op.execute("UPDATE fee SET cents = cents + 1")
        op.execute(sa.text("COMMIT;"))
        """,
        'op.execute("UPDATE fee SET cents = cents - 1")',
        message="keep what was worked out",
    ),
    Record(
        "fee_kind",
        """
        kind = sa.Enum("night", "day", name="fee_kind")
        kind.create(op.get_bind())
        op.add_column("fee", sa.Column("kind", kind, nullable=False, server_default="night"))
        op.alter_column("fee", "kind", server_default=None, existing_type=kind)
        """,
        """
        op.drop_column("fee", "kind")
        sa.Enum(name="fee_kind").drop(op.get_bind())
        """,
    ),
    Record(
        "rename_kind",
        """
        op.execute("ALTER TYPE fee_kind RENAME VALUE 'night' TO 'overnight'")
        op.execute("ALTER TABLE fee RENAME COLUMN cents TO price")
        """,
        """
        op.alter_column("fee", "price", new_column_name="cents")
        op.execute("ALTER TYPE fee_kind RENAME VALUE 'overnight' TO 'night'")
        """,
    ),
    Record(
        "moorings",
        """
        op.create_table(
            "mooring",
            sa.Column("id", sa.Integer(), primary_key=True),
            sa.Column("berth_id", sa.Integer(), sa.ForeignKey("berth.id"), nullable=False),
            sa.Column("during", postgresql.TSRANGE(), nullable=False),
            postgresql.ExcludeConstraint(("during", "&&"), using="gist", name="one_at_a_time"),
        )
        """,
        'op.drop_table("mooring")',
        form="typed",
        file="{id}.py",
    ),
    Record(
        "owner",
        """
        op.execute(
            \"\"\"
            DO $$
            BEGIN
                IF NOT EXISTS (SELECT FROM information_schema.columns WHERE table_name = 'ship' AND column_name = 'owner') THEN
                    ALTER TABLE ship ADD COLUMN owner varchar(40) DEFAULT 'nobody';
                END IF;
            END $$
            \"\"\"
        )
        """,
        'op.drop_column("ship", "owner")',
    ),
    Record(
        "tide_of",
        """
        op.execute("CREATE DOMAIN metres AS numeric CHECK (VALUE > -100)")
        op.alter_column("tide", "height", type_=sa.Numeric(), existing_type=sa.REAL())
        op.execute("ALTER TABLE tide ADD COLUMN low metres, ADD COLUMN high metres DEFAULT 3")
        """,
        """
        op.execute("ALTER TABLE tide DROP COLUMN low, DROP COLUMN high")
        op.alter_column("tide", "height", type_=sa.REAL())
        op.execute("DROP DOMAIN metres")
        """,
        file="20231105-1200_{id}.py",
    ),
    Record(
        "owner_index",
        """
        with op.get_context().autocommit_block():
            op.execute("CREATE INDEX CONCURRENTLY IF NOT EXISTS ix_ship_owner ON ship (owner)")
        """,
        """
        with op.get_context().autocommit_block():
            op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_ship_owner")
        """,
        form="typed",
    ),
    Record(
        "papers_text",
        """
        for (cargo,) in op.get_bind().execute(sa.text("SELECT id FROM cargo ORDER BY id")):
            op.execute(sa.text("UPDATE cargo SET papers = jsonb_build_object('seen', true) WHERE id = :id").bindparams(id=cargo))
        op.create_check_constraint("papers_known", "cargo", "papers IS NOT NULL")
        """,
        """
        op.drop_constraint("papers_known", "cargo", type_="check")
        """,
    ),
    Record(
        "last_words",
        """
        op.add_column("quay", sa.Column("position", sa.Integer(), nullable=False, server_default=sa.text("1")))
        op.create_check_constraint(op.f("ck_quay_position"), "quay", "position > 0")
        op.create_unique_constraint(None, "quay", ["position", "name"])
        """,
        'op.drop_column("quay", "position")',
        form="typed",
    ),
]
