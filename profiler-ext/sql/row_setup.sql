-- What the scripts after this one use.
CREATE EXTENSION sql_profiler;
-- The rows of a trace in short; n: in the order in which they were written, of: the tag of the row around it.
CREATE FUNCTION rows_of(trace int)
RETURNS TABLE (n int, of text, tag text, rows text, sqlstate text, error text, flags text, query text) LANGUAGE sql SET jit = off AS $$
  WITH file AS (
    SELECT convert_from(sql_profiler.read(trace, slot, number, 0, 16777216), 'UTF8') AS csv
    FROM sql_profiler.progress(trace) p, generate_series(1, p.file) number
  ), field AS (
    SELECT (i - 1) / 56 AS line, (i - 1) % 56 AS place,
      CASE WHEN m[1] LIKE '"%' THEN replace(substr(m[1], 2, length(m[1]) - 2), '""', '"') ELSE m[1] END AS value
    FROM file, regexp_matches(csv, '("(?:[^"]|"")*"|[^,\n]*)[,\n]', 'g') WITH ORDINALITY found(m, i)
  ), row AS (
    SELECT v.line, jsonb_object_agg(h.value, v.value) AS r
    FROM field v JOIN field h ON h.line = 0 AND h.place = v.place WHERE v.line > 0 GROUP BY v.line
  )
  SELECT row.line::int, parent.r->>'tag', row.r->>'tag', row.r->>'rows', row.r->>'sqlstate', row.r->>'error', row.r->>'flags',
    row.r->>'query'
  FROM row LEFT JOIN row parent ON parent.r->>'serial' = row.r->>'parent'
  ORDER BY row.line
$$;
