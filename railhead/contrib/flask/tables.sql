SELECT c.oid::regclass::text,
       CASE c.relkind WHEN 'p' THEN parts.rows ELSE nullif(c.reltuples, -1) END,
       pg_total_relation_size(c.oid) + parts.size,
       coalesce(parts.count, 0),
       obj_description(c.oid, 'pg_class'),
       (SELECT jsonb_agg(jsonb_build_array(a.attname, format_type(a.atttypid, a.atttypmod), NOT a.attnotnull,
                                           pg_get_expr(d.adbin, d.adrelid), nullif(concat(a.attidentity, a.attgenerated), ''),
                                           (SELECT jsonb_agg(e.enumlabel ORDER BY e.enumsortorder)
                                              FROM pg_enum e WHERE e.enumtypid = a.atttypid),
                                           col_description(c.oid, a.attnum)) ORDER BY a.attnum)
          FROM pg_attribute a LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
         WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
       (SELECT jsonb_agg(jsonb_build_array(ic.relname, pg_get_indexdef(i.indexrelid), i.indisvalid,
                                           pg_relation_size(i.indexrelid)) ORDER BY ic.relname)
          FROM pg_index i JOIN pg_class ic ON ic.oid = i.indexrelid
         WHERE i.indrelid = c.oid),
       (SELECT jsonb_agg(jsonb_build_array(k.conname, k.contype, pg_get_constraintdef(k.oid), k.convalidated,
                                           (SELECT jsonb_agg(a.attname ORDER BY u.place)
                                              FROM unnest(k.conkey) WITH ORDINALITY AS u (number, place)
                                              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = u.number),
                                           CASE WHEN k.contype = 'f' THEN k.confrelid::regclass::text END)
                         ORDER BY array_position('{p,u,f,c,x}', k.contype::text), k.conname)
          FROM pg_constraint k
         -- of a partitioned table that is referred to, PostgreSQL keeps one foreign key more for each partition
         WHERE k.conrelid = c.oid AND k.contype IN ('p', 'u', 'f', 'c', 'x') AND (k.contype <> 'f' OR k.conparentid = 0))
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN LATERAL (
       SELECT count(*) AS count, sum(nullif(p.reltuples, -1)) AS rows, coalesce(sum(pg_total_relation_size(p.oid)), 0) AS size
         FROM pg_partition_tree(c.oid) t JOIN pg_class p ON p.oid = t.relid
        WHERE t.isleaf AND c.relkind = 'p') parts ON true
 WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND n.nspname NOT LIKE 'pg\_%%' AND n.nspname <> 'information_schema' AND c.relname <> ALL (%s)
   AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
 ORDER BY c.oid::regclass::text
