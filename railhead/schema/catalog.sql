-- What a schema looks like, one row for each object: kind, schema, table, name, facts, here, origin, comment.
--
--   kind, schema,    what it is and its name, as SQL writes it; the schema `public` is left out, the table is empty for what
--   table, name      belongs to none: `column`, `archive`, `task`, `due_on`
--   facts            how it is made, field by field: each kind has its own, which objects.py names in this order, in words that
--                    PostgreSQL 14 to 18 agree on
--   here             what only this server would say in these words (the text of a view, the version of an extension)
--   origin           the object that it was inherited from, in one text: a partition's index has its parent's index there
--   comment          what COMMENT ON says about it
--
-- A first fact that is NULL, and a `here`, belongs to an object that another session has dropped since this statement began: the
-- pg_get_* functions look at the newest catalog, not at the statement's snapshot. One statement, so that the snapshot is one and
-- what several parts need (`relation`) is found once. Everything here is in PostgreSQL 14's catalog; two columns whose names
-- differ between versions are read through to_jsonb. No backslashes: what they mean is a setting of the session.
WITH
space AS (
    SELECT oid, nspname AS name, CASE nspname WHEN 'public' THEN '' ELSE quote_ident(nspname) END AS written,
           CASE nspname WHEN 'public' THEN '' ELSE quote_ident(nspname) || '.' END AS prefix
      FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema'
),
by_extension AS MATERIALIZED (
    SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
),
relation AS MATERIALIZED (
    SELECT c.oid, c.relname, c.relkind, c.relpersistence, c.relispartition, c.relrowsecurity, c.relforcerowsecurity,
           c.relreplident, c.reloftype, c.relpartbound, s.written AS schema, quote_ident(c.relname) AS written, s.prefix || quote_ident(c.relname) AS name,
           (SELECT string_agg(o.option, ', ' ORDER BY o.option COLLATE "C") FROM unnest(c.reloptions) AS o (option)) AS options
      FROM pg_class c JOIN space s ON s.oid = c.relnamespace
     WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S')
       AND NOT (c.relkind IN ('r', 'p') AND c.relname IN ('alembic_version', 'migration_ledger'))
       AND NOT (c.relkind = 'r' AND c.relnatts = 1 AND EXISTS (  -- Alembic's, or another application's, by whatever name
           SELECT FROM pg_attribute v WHERE v.attrelid = c.oid AND v.attnum = 1 AND v.attname = 'version_num'))
       AND (1259, c.oid) NOT IN (SELECT classid, objid FROM by_extension)  -- 1259: pg_class
),
named AS NOT MATERIALIZED (  -- `relation` by its oid, without reading it whole; tables of extensions are in it, too
    SELECT c.oid, (SELECT s.prefix FROM space s WHERE s.oid = c.relnamespace) || quote_ident(c.relname) AS name FROM pg_class c
),
parent AS NOT MATERIALIZED (
    SELECT i.inhrelid AS child, n.oid, n.name, i.inhseqno
      FROM pg_inherits i JOIN named n ON n.oid = i.inhparent
),
counter AS NOT MATERIALIZED (  -- sequences; `settings` is what differs from the defaults of its type
    SELECT q.seqrelid AS oid, q.seqtypid AS type, format_type(q.seqtypid, NULL) AS type_name, concat_ws(' ',
               CASE WHEN q.seqincrement <> 1 THEN 'increment ' || q.seqincrement END,
               CASE WHEN q.seqmin <> CASE WHEN q.seqincrement > 0 THEN 1 ELSE -n.highest - 1 END THEN 'minvalue ' || q.seqmin END,
               CASE WHEN q.seqmax <> CASE WHEN q.seqincrement > 0 THEN n.highest ELSE -1 END THEN 'maxvalue ' || q.seqmax END,
               CASE WHEN q.seqstart <> CASE WHEN q.seqincrement > 0 THEN q.seqmin ELSE q.seqmax END THEN 'start ' || q.seqstart END,
               CASE WHEN q.seqcache <> 1 THEN 'cache ' || q.seqcache END,
               CASE WHEN q.seqcycle THEN 'cycle' END) AS settings
      FROM pg_sequence q
     CROSS JOIN LATERAL (SELECT CASE q.seqtypid WHEN 'int2'::regtype THEN 32767 WHEN 'int4'::regtype THEN 2147483647
                                                ELSE 9223372036854775807 END) AS n (highest)
),
uses AS (  -- what the query in a view, a rule, a policy or a function stands on; user objects begin at oid 16384
    SELECT classid, objid, string_agg(DISTINCT name, ', ' ORDER BY name) AS names
      FROM (SELECT d.classid, d.objid, CASE d.refclassid
                       WHEN 'pg_class'::regclass THEN d.refobjid::regclass::text || coalesce('.' || quote_ident(a.attname), '')
                       WHEN 'pg_proc'::regclass THEN d.refobjid::regprocedure::text
                       WHEN 'pg_type'::regclass THEN d.refobjid::regtype::text
                   END COLLATE "C" AS name
              FROM pg_depend d
              LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
              LEFT JOIN pg_attribute a ON d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0
               AND a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
             WHERE d.classid IN ('pg_rewrite'::regclass, 'pg_proc'::regclass, 'pg_policy'::regclass)
               AND d.objid >= 16384 AND d.deptype = 'n' AND d.refobjid IS DISTINCT FROM w.ev_class) AS each
     GROUP BY classid, objid
),
found (kind, schema, "table", name, facts, here, origin, class, object, part) AS (

    -- tables
    SELECT 'table', r.schema, '', r.written, ARRAY[
           concat_ws(' ',
               CASE WHEN r.relispartition THEN 'partition of ' || p.names || ' ' || pg_get_expr(r.relpartbound, r.oid)
                    WHEN r.relkind = 'r' THEN 'ordinary' END,
               CASE r.relkind WHEN 'p' THEN 'partitioned by ' || pg_get_partkeydef(r.oid) WHEN 'f' THEN 'foreign' END,
               'server ' || quote_ident(s.srvname), 'options ' || f.ftoptions::text,
               CASE WHEN NOT r.relispartition THEN 'inherits ' || p.names END,
               'of ' || format_type(nullif(r.reloftype, 0), NULL)),
           CASE r.relpersistence WHEN 'u' THEN 'unlogged' END,
           r.options,
           CASE WHEN r.relrowsecurity THEN 'row security' END,
           CASE WHEN r.relforcerowsecurity THEN 'forced row security' END,
           CASE WHEN r.relkind = 'f' THEN NULL WHEN r.relreplident = 'f' THEN 'full'
                WHEN r.relreplident = 'n' THEN 'nothing' WHEN r.relreplident = 'i' THEN 'index' END],
           '', CASE WHEN r.relispartition THEN 'table ' || p.names ELSE '' END, 'pg_class'::regclass, r.oid, 0
      FROM relation r
      LEFT JOIN pg_foreign_table f ON f.ftrelid = r.oid
      LEFT JOIN pg_foreign_server s ON s.oid = f.ftserver
      LEFT JOIN (SELECT child, string_agg(name, ', ' ORDER BY inhseqno) AS names FROM parent GROUP BY child) AS p
        ON p.child = r.oid
     WHERE r.relkind IN ('r', 'p', 'f')

    UNION ALL  -- their columns
    SELECT 'column', r.schema, r.written, quote_ident(a.attname), ARRAY[
           format_type(a.atttypid, a.atttypmod),
           CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END,
           CASE WHEN n.oid IS NOT NULL THEN 'not null not valid' WHEN a.attnotnull THEN 'not null' END,
           CASE WHEN NOT a.atthasdef THEN NULL WHEN a.attgenerated = '' THEN 'default' WHEN a.attgenerated = 's' THEN 'stored'
                ELSE 'virtual' END,
           pg_get_expr(d.adbin, d.adrelid),
           CASE WHEN NOT r.relispartition THEN i.identity END,
           o.settings],
           -- from PostgreSQL 17 on a partition shares its parent's identity, before it had none
           CASE WHEN r.relispartition THEN coalesce('generated ' || i.identity || ' as identity', '') ELSE '' END,
           CASE WHEN a.attinhcount > 0
                THEN coalesce((SELECT 'column ' || p.name || '.' || quote_ident(a.attname)
                                 FROM parent p JOIN pg_attribute b ON b.attrelid = p.oid AND b.attname = a.attname
                                WHERE p.child = r.oid AND b.attnum > 0 ORDER BY p.inhseqno LIMIT 1), '')
                ELSE '' END,
           'pg_class'::regclass, r.oid, a.attnum
      FROM relation r
      JOIN pg_attribute a ON a.attrelid = r.oid AND a.attrelid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped
      JOIN pg_type t ON t.oid = a.atttypid
     CROSS JOIN LATERAL (SELECT CASE a.attidentity WHEN 'a' THEN 'always' WHEN 'd' THEN 'by default' END) AS i (identity)
      LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
      LEFT JOIN pg_constraint n ON n.conrelid = r.oid AND n.contype = 'n' AND n.conkey = ARRAY[a.attnum] AND NOT n.convalidated
     CROSS JOIN LATERAL (SELECT string_agg(nullif(concat_ws(' ',
                                    CASE WHEN c.type <> a.atttypid THEN 'as ' || c.type_name END, nullif(c.settings, '')), ''),
                                    '; ' ORDER BY c.oid) AS settings
                           FROM pg_depend d JOIN counter c ON c.oid = d.objid
                          WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = a.attrelid AND d.refobjsubid = a.attnum
                            AND d.classid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')) AS o
     WHERE r.relkind IN ('r', 'p', 'f')

    UNION ALL  -- their constraints, without the rows that PostgreSQL keeps for each partition that a foreign key points at
    SELECT 'constraint', r.schema, r.written, quote_ident(c.conname), ARRAY[
           pg_get_constraintdef(c.oid),
           CASE WHEN NOT i.indisvalid THEN 'INVALID' END,
           CASE WHEN c.contype = 'f' AND EXISTS (SELECT FROM pg_trigger g WHERE g.tgconstraint = c.oid AND g.tgenabled = 'D')
                THEN 'DISABLED' END],
           '',
           CASE WHEN above.oid IS NOT NULL
                THEN coalesce((SELECT 'constraint ' || q.name || '.' || quote_ident(above.conname)
                                 FROM named q WHERE q.oid = above.conrelid), '')
                WHEN c.coninhcount > 0
                THEN coalesce((SELECT 'constraint ' || p.name || '.' || quote_ident(c.conname)
                                 FROM parent p JOIN pg_constraint b ON b.conrelid = p.oid AND b.conname = c.conname
                                WHERE p.child = r.oid ORDER BY p.inhseqno LIMIT 1), '')
                ELSE '' END,
           'pg_constraint'::regclass, c.oid, 0
      FROM relation r
      JOIN pg_constraint c ON c.conrelid = r.oid AND c.contype NOT IN ('n', 't')
      LEFT JOIN pg_constraint above ON above.oid = nullif(c.conparentid, 0)
      LEFT JOIN pg_index i ON c.contype IN ('p', 'u', 'x') AND i.indexrelid = c.conindid
     WHERE NOT (c.contype = 'f' AND above.confrelid IS NOT NULL AND above.confrelid <> c.confrelid)

    UNION ALL  -- indexes that belong to no constraint
    SELECT 'index', r.schema, r.written, quote_ident(c.relname), ARRAY[
           pg_get_indexdef(i.indexrelid), CASE WHEN NOT i.indisvalid THEN 'INVALID' END],
           '',
           coalesce((SELECT 'index ' || q.name || '.' || quote_ident(b.relname)
                       FROM pg_inherits h JOIN pg_class b ON b.oid = h.inhparent
                       JOIN pg_index x ON x.indexrelid = b.oid JOIN named q ON q.oid = x.indrelid
                      WHERE h.inhrelid = i.indexrelid), ''),
           'pg_class'::regclass, c.oid, 0
      FROM relation r
      JOIN pg_index i ON i.indrelid = r.oid
      JOIN pg_class c ON c.oid = i.indexrelid
     WHERE NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x'))

    UNION ALL  -- views
    SELECT CASE r.relkind WHEN 'm' THEN 'materialized view' ELSE 'view' END, r.schema, '', r.written,
           ARRAY['', r.options, u.names] || ARRAY(
               SELECT quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
                 FROM pg_attribute a WHERE a.attrelid = r.oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum),
           pg_get_viewdef(r.oid), '', 'pg_class'::regclass, r.oid, 0
      FROM relation r
      JOIN pg_rewrite w ON w.ev_class = r.oid AND w.rulename = '_RETURN'
      LEFT JOIN uses u ON u.classid = 'pg_rewrite'::regclass AND u.objid = w.oid
     WHERE r.relkind IN ('v', 'm')

    UNION ALL  -- sequences that no column owns
    SELECT 'sequence', r.schema, '', r.written,
           ARRAY[c.type_name, CASE r.relpersistence WHEN 'u' THEN 'unlogged' END, nullif(c.settings, '')],
           '', '', 'pg_class'::regclass, r.oid, 0
      FROM relation r JOIN counter c ON c.oid = r.oid
     WHERE NOT EXISTS (SELECT FROM pg_depend d
                        WHERE d.classid = 'pg_class'::regclass AND d.objid = r.oid AND d.deptype IN ('a', 'i')
                          AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0)

    UNION ALL  -- triggers; those of a partition only where they are not in the state that its parent's are in
    SELECT 'trigger', r.schema, r.written, quote_ident(t.tgname), ARRAY[
           pg_get_triggerdef(t.oid),
           CASE t.tgenabled WHEN 'D' THEN 'DISABLED' WHEN 'R' THEN 'ENABLED ON REPLICA' WHEN 'A' THEN 'ENABLED ALWAYS' END],
           '', '', 'pg_trigger'::regclass, t.oid, 0
      FROM relation r
      JOIN pg_trigger t ON t.tgrelid = r.oid
      LEFT JOIN pg_trigger above ON above.oid = nullif(t.tgparentid, 0)
     WHERE CASE WHEN above.oid IS NULL THEN NOT t.tgisinternal
                ELSE t.tgenabled <> above.tgenabled AND t.tgconstraint = 0 END

    UNION ALL  -- rules
    SELECT 'rule', r.schema, r.written, quote_ident(w.rulename), ARRAY[
           CASE w.ev_type WHEN '1' THEN 'select' WHEN '2' THEN 'update' WHEN '3' THEN 'insert' ELSE 'delete' END,
           CASE WHEN w.is_instead THEN 'instead' END,
           u.names,
           CASE w.ev_enabled WHEN 'D' THEN 'DISABLED' WHEN 'R' THEN 'ENABLED ON REPLICA' WHEN 'A' THEN 'ENABLED ALWAYS' END],
           pg_get_ruledef(w.oid), '', 'pg_rewrite'::regclass, w.oid, 0
      FROM relation r
      JOIN pg_rewrite w ON w.ev_class = r.oid AND w.rulename <> '_RETURN'
      LEFT JOIN uses u ON u.classid = 'pg_rewrite'::regclass AND u.objid = w.oid

    UNION ALL  -- policies; one that holds a query is told by what the query uses
    SELECT 'policy', r.schema, r.written, quote_ident(p.polname), ARRAY[
           CASE WHEN p.polpermissive THEN 'permissive' ELSE 'restrictive' END,
           CASE p.polcmd WHEN 'r' THEN 'select' WHEN 'a' THEN 'insert' WHEN 'w' THEN 'update' WHEN 'd' THEN 'delete' ELSE 'all' END,
           coalesce((SELECT string_agg(quote_ident(o.rolname), ', ' ORDER BY o.rolname)
                       FROM pg_roles o WHERE o.oid = ANY (p.polroles)), 'public'),
           CASE WHEN strpos(e.words, 'SELECT') > 0 THEN 'uses ' || coalesce(u.names, 'nothing') ELSE nullif(e.words, '') END],
           CASE WHEN strpos(e.words, 'SELECT') > 0 THEN e.words ELSE '' END,
           '', 'pg_policy'::regclass, p.oid, 0
      FROM relation r
      JOIN pg_policy p ON p.polrelid = r.oid
     CROSS JOIN LATERAL (SELECT concat_ws(' ', 'using (' || pg_get_expr(p.polqual, p.polrelid) || ')',
                                               'with check (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')')) AS e (words)
      LEFT JOIN uses u ON u.classid = 'pg_policy'::regclass AND u.objid = p.oid

    UNION ALL  -- extended statistics
    SELECT 'statistics', s.written, '', quote_ident(x.stxname), ARRAY[pg_get_statisticsobjdef(x.oid)], '', '',
           'pg_statistic_ext'::regclass, x.oid, 0
      FROM pg_statistic_ext x JOIN space s ON s.oid = x.stxnamespace

    UNION ALL  -- enums, domains, composite types and ranges
    SELECT CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'r' THEN 'range' ELSE 'type' END,
           s.written, '', quote_ident(t.typname),
           CASE t.typtype
           WHEN 'e' THEN ARRAY(SELECT quote_literal(e.enumlabel) FROM pg_enum e WHERE e.enumtypid = t.oid ORDER BY e.enumsortorder)
           WHEN 'd' THEN ARRAY[
               format_type(t.typbasetype, t.typtypmod),
               CASE WHEN t.typcollation <> b.typcollation THEN t.typcollation::regcollation::text END,
               CASE WHEN t.typnotnull THEN 'not null' END,
               pg_get_expr(t.typdefaultbin, 0)] || ARRAY(
                   SELECT quote_ident(k.conname) || ' ' || pg_get_constraintdef(k.oid)
                     FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c' ORDER BY k.conname)
           WHEN 'r' THEN (SELECT ARRAY[concat_ws(' ', 'of ' || format_type(g.rngsubtype, NULL),
                                     'operator class ' || quote_ident(o.opcname),
                                     'collate ' || nullif(g.rngcollation, 0)::regcollation::text,
                                     'canonical ' || nullif(g.rngcanonical::oid, 0)::regprocedure::text,
                                     'difference ' || nullif(g.rngsubdiff::oid, 0)::regprocedure::text,
                                     'multirange ' || format_type(g.rngmultitypid, NULL))]
                            FROM pg_range g JOIN pg_opclass o ON o.oid = g.rngsubopc WHERE g.rngtypid = t.oid)
           ELSE ARRAY(SELECT quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod)
                             || CASE WHEN a.attcollation <> y.typcollation
                                     THEN ' collate ' || a.attcollation::regcollation::text ELSE '' END
                        FROM pg_attribute a JOIN pg_type y ON y.oid = a.atttypid
                       WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum)
           END,
           '', '', 'pg_type'::regclass, t.oid, 0
      FROM pg_type t
      JOIN space s ON s.oid = t.typnamespace
      LEFT JOIN pg_class c ON c.oid = nullif(t.typrelid, 0)
      LEFT JOIN pg_type b ON b.oid = nullif(t.typbasetype, 0)
     WHERE t.oid >= 16384 AND (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND c.relkind = 'c')
       AND (1247, t.oid) NOT IN (SELECT classid, objid FROM by_extension)  -- 1247: pg_type
       AND (1259, t.typrelid) NOT IN (SELECT classid, objid FROM by_extension)

    UNION ALL  -- functions, procedures and aggregates, without the constructors of ranges
    SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END,
           s.written, '', quote_ident(p.proname) || '(' || oidvectortypes(p.proargtypes) || ')',
           ARRAY[CASE WHEN p.prokind = 'a'
                THEN (SELECT concat_ws(' ', 'state ' || format_type(g.aggtranstype, NULL),
                                 'step ' || g.aggtransfn::regprocedure::text,
                                 'final ' || nullif(g.aggfinalfn::oid, 0)::regprocedure::text,
                                 'combine ' || nullif(g.aggcombinefn::oid, 0)::regprocedure::text,
                                 'initially ' || quote_literal(g.agginitval))
                        FROM pg_aggregate g WHERE g.aggfnoid = p.oid)
                WHEN p.prosqlbody IS NOT NULL
                THEN concat_ws(' ', '(' || pg_get_function_arguments(p.oid) || ')', 'returns ' || pg_get_function_result(p.oid),
                               CASE p.provolatile WHEN 'i' THEN 'immutable' WHEN 's' THEN 'stable' END,
                               CASE WHEN p.proisstrict THEN 'strict' END, CASE WHEN p.prosecdef THEN 'security definer' END,
                               'set ' || array_to_string(p.proconfig, ', '), 'uses ' || u.names)
                ELSE pg_get_functiondef(p.oid) END],
           CASE WHEN p.prokind <> 'a' AND p.prosqlbody IS NOT NULL THEN pg_get_functiondef(p.oid) ELSE '' END,
           '', 'pg_proc'::regclass, p.oid, 0
      FROM pg_proc p
      JOIN space s ON s.oid = p.pronamespace
      LEFT JOIN uses u ON u.classid = 'pg_proc'::regclass AND u.objid = p.oid
     WHERE p.oid >= 16384 AND (1255, p.oid) NOT IN (SELECT classid, objid FROM by_extension)  -- 1255: pg_proc
       AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i')

    UNION ALL  -- collations; the locale's column is called colliculocale, then colllocale
    SELECT 'collation', s.written, '', quote_ident(c.collname),
           ARRAY[concat_ws(' ', CASE c.collprovider WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' ELSE 'default' END,
               coalesce(j.row ->> 'colllocale', j.row ->> 'colliculocale', j.row ->> 'collcollate'),
               CASE WHEN NOT c.collisdeterministic THEN 'nondeterministic' END, 'rules ' || (j.row ->> 'collicurules'))],
           '', '', 'pg_collation'::regclass, c.oid, 0
      FROM pg_collation c
      JOIN space s ON s.oid = c.collnamespace
     CROSS JOIN LATERAL (SELECT to_jsonb(c)) AS j (row)
     WHERE (3456, c.oid) NOT IN (SELECT classid, objid FROM by_extension)  -- 3456: pg_collation

    UNION ALL  -- schemas
    SELECT 'schema', '', '', s.written, ARRAY[''], '', '', 'pg_namespace'::regclass, s.oid, 0
      FROM space s
     WHERE s.name <> 'public' AND (2615, s.oid) NOT IN (SELECT classid, objid FROM by_extension)  -- 2615: pg_namespace

    UNION ALL  -- extensions
    SELECT 'extension', '', '', quote_ident(e.extname), ARRAY['schema ' || quote_ident(n.nspname)], 'version ' || e.extversion, '',
           NULL, NULL, 0
      FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
)
SELECT f.kind, f.schema, f."table", f.name, f.facts::text, f.here, f.origin, d.description
  FROM found f
  LEFT JOIN pg_description d ON d.classoid = f.class AND d.objoid = f.object AND d.objsubid = f.part AND d.objoid >= 16384

UNION ALL  -- comments on what has no row of its own: columns of views, indexes of constraints
SELECT 'comment on column', r.schema, r.written, quote_ident(a.attname), ARRAY[d.description]::text, '', '', NULL
  FROM relation r
  JOIN pg_attribute a ON a.attrelid = r.oid AND a.attnum > 0
  JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = r.oid AND d.objsubid = a.attnum
 WHERE r.relkind IN ('v', 'm')

UNION ALL
SELECT 'comment on index', r.schema, r.written, quote_ident(c.relname), ARRAY[d.description]::text, '', '', NULL
  FROM relation r
  JOIN pg_index i ON i.indrelid = r.oid
  JOIN pg_class c ON c.oid = i.indexrelid
  JOIN pg_constraint k ON k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
  JOIN pg_description d ON d.classoid = 'pg_class'::regclass AND d.objoid = c.oid AND d.objsubid = 0
