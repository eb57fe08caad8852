"""How does a revision end its own transaction? Members of one kind, for tests that try them all, or a few."""

from __future__ import annotations

BIND = "bind = op.get_bind()\n"
DRIVER = f"{BIND}driver = bind.connection.dbapi_connection\n"
BLOCK = "with op.get_context().autocommit_block():\n    "
INDEX = "op.create_index('person_name', 'person', ['name'], postgresql_concurrently=True)"
ALONE = "CREATE INDEX CONCURRENTLY person_name ON person (name)"
LATER = "op.execute('ALTER TABLE person ADD COLUMN later int')"

COMMITS = {
    "bind, then a block": f"op.get_bind().commit()\n{BLOCK}{INDEX}",
    "bind in the middle": f"{LATER}\n{BIND}bind.commit()\n{BLOCK}{INDEX}",
    "bind at the end": f"op.create_index('person_name', 'person', ['name'])\n{LATER}\nop.get_bind().commit()",
    "bind, work, then a block": f"{BIND}bind.commit()\n{LATER}\n{BLOCK}{INDEX}",
    "bind twice": f"{BIND}bind.commit()\n{LATER}\nbind.commit()\nop.create_index('person_name', 'person', ['name'])",
    "SQL": f"op.execute('COMMIT')\nop.execute({ALONE!r})",
    "SQL and a block": f"op.execute(sa.text('COMMIT;'))\n{BLOCK}{INDEX}",
    "SQL, begun again": f"op.execute('COMMIT')\nop.execute({ALONE!r})\nop.execute('BEGIN')\n{LATER}",
    "SQL, begun and ended": f"op.execute('COMMIT; BEGIN; CREATE INDEX person_name ON person (name); COMMIT')\n{LATER}",
    "SQL among others": "op.execute('ALTER TABLE person ADD COLUMN later int; COMMIT; CREATE INDEX person_name ON person (name)')",
    "END": f"op.execute('END')\nop.execute({ALONE!r})\n{LATER}",
    "SQL, and on": f"{LATER}\nop.execute('COMMIT AND CHAIN')\nop.execute('CREATE INDEX person_name ON person (name)')",
    "SQL in a block": f"op.execute('COMMIT')\nop.execute('DO $$ BEGIN {LATER[12:-2]}; COMMIT; CREATE INDEX person_name ON person (name); END $$')",
    "transaction": f"{LATER}\nop.get_bind().get_transaction().commit()\nop.execute('CREATE INDEX person_name ON person (name)')",
    "SQL at the end": f"op.create_index('person_name', 'person', ['name'])\n{LATER}\nop.execute('COMMIT')",
    "connection of the context": f"op.get_context().connection.commit()\n{BLOCK}{INDEX}\n{LATER}",
    "pooled connection": "op.get_bind().connection.commit()\nop.create_index('person_name', 'person', ['name'])",
    "driver": f"{DRIVER}driver.commit()\n{BLOCK}{INDEX}\n{LATER}",
    "driver's cursor": f"{DRIVER}cursor = driver.cursor()\ncursor.execute('COMMIT')\ncursor.execute({ALONE!r})",
    "driver's autocommit": f"{DRIVER}driver.commit()\ndriver.autocommit = True\nop.execute({ALONE!r})",
    "driver's level": f"{DRIVER}driver.set_isolation_level(0)\nop.execute({ALONE!r})\ndriver.set_isolation_level(1)\n{LATER}",
    "driver's level, left so": f"{DRIVER}driver.set_isolation_level(0)\nop.execute({ALONE!r})",
    "AUTOCOMMIT": f"{BIND}bind.commit()\nbind = bind.execution_options(isolation_level='AUTOCOMMIT')\nbind.execute(sa.text({ALONE!r}))\n{LATER}",
    "session": f"from sqlalchemy.orm import Session\n{BIND}bind.commit()\nwith Session(bind) as session:\n"
    f"    session.execute(sa.text('CREATE INDEX person_name ON person (name)'))\n    session.commit()\n{LATER}",
    "ROLLBACK first": f"op.execute('ROLLBACK')\nop.execute({ALONE!r})\n{LATER}",
    "rollback first": f"op.get_bind().rollback()\nop.create_index('person_name', 'person', ['name'])\n{LATER}",
    "ABORT first": f"op.execute('ABORT')\n{BLOCK}{INDEX}",
    "rollback of a failure": f"try:\n    op.execute('SELECT 1/0')\nexcept sa.exc.DBAPIError:\n    op.get_bind().rollback()\n"
    f"op.create_index('person_name', 'person', ['name'])\n{LATER}",
}
"""What a revision may do to its transaction. All of them make the index, and leave the version to others."""

UNSEEN = {"rollback first", "rollback of a failure"}
"""What leaves nothing behind: the rest of the revision is one transaction, as ever."""

HARMLESS = {*UNSEEN, "pooled connection"}
"""What a crash cannot leave half done."""

FEW = ("bind, then a block", "SQL", "SQL at the end", "driver", "AUTOCOMMIT", "ROLLBACK first", "rollback of a failure")
"""One of each sort, for those who have little time."""
