"""What does the doctor ask PostgreSQL? Statements only."""

from __future__ import annotations

from railhead.history.naming import LONGEST_ID
from railhead.project import IS_OWN

OF_USERS = """
n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
 AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
"""

IS_SUPERUSER = "SELECT rolsuper FROM pg_roles WHERE rolname = current_user"

DEADLOCK_TIMEOUT = "SELECT setting FROM pg_settings WHERE name = 'deadlock_timeout'"

WIDTH = """
SELECT atttypmod - 4 FROM pg_attribute
 WHERE attrelid = {} AND attname = 'version_num' AND atttypmod > 4
"""

WIDER = f"ALTER TABLE {{}} ALTER COLUMN version_num TYPE varchar({LONGEST_ID});"

UNUSABLE = f"""
SELECT c.oid::regclass::text, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY (current_schemas(false)) AND {OF_USERS}
   AND NOT {IS_OWN}
   AND NOT (SELECT bool_and(has_table_privilege(c.oid, wanted))
              FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) AS w (wanted)) ORDER BY 1
"""

NOT_OURS = f"""
SELECT c.oid::regclass::text, c.relname, quote_ident(pg_get_userbyid(c.relowner)) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'p') AND n.nspname = ANY (current_schemas(false)) AND {OF_USERS}
   AND NOT pg_has_role(c.relowner, 'USAGE') ORDER BY 1
"""

INVALID_INDEXES = f"""
SELECT c.oid::regclass::text, i.indrelid::regclass::text, n.nspname, t.relname FROM pg_index i
  JOIN pg_class c ON c.oid = i.indexrelid AND c.relkind = 'i' JOIN pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_class t ON t.oid = i.indrelid
 WHERE NOT i.indisvalid AND {OF_USERS}
   AND NOT EXISTS (SELECT FROM pg_stat_progress_create_index p WHERE p.index_relid = c.oid OR p.relid = i.indrelid) ORDER BY 1
"""

# What PostgreSQL 18 does not enforce it does not validate either, and that is meant.
NOT_VALIDATED = f"""
SELECT quote_ident(k.conname), c.oid::regclass::text, k.conname, c.relname, n.nspname FROM pg_constraint k
  JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE NOT k.convalidated AND k.conparentid = 0 AND coalesce((to_jsonb(k) ->> 'conenforced')::boolean, true) AND {OF_USERS}
 ORDER BY 2, 1
"""

LONG_TRANSACTIONS = """
SELECT pid, coalesce(nullif(application_name, ''), 'unnamed'), state, extract(epoch FROM clock_timestamp() - xact_start),
       left(regexp_replace(query, '\\s+', ' ', 'g'), 60)
  FROM pg_stat_activity
 WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
   AND application_name !~ '^railhead (?!web)' AND xact_start < clock_timestamp() - make_interval(secs => %s) ORDER BY xact_start
"""

# The locks of a prepared transaction have no pid, and one virtual transaction with the lock on its own number.
PREPARED = """
SELECT p.gid, p.owner, extract(epoch FROM clock_timestamp() - p.prepared),
       (SELECT string_agg(DISTINCT l.relation::regclass::text, ', ') FROM pg_locks l JOIN pg_locks own USING (virtualtransaction)
         WHERE own.pid IS NULL AND own.transactionid = p.transaction
           AND l.pid IS NULL AND l.locktype = 'relation' AND l.relation >= 16384)
  FROM pg_prepared_xacts p WHERE p.database = current_database() ORDER BY p.prepared
"""
