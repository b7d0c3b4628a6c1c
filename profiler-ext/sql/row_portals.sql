-- Cursors: in pieces, side by side, held, closed by a rollback, an error, a savepoint.
CREATE EXTENSION IF NOT EXISTS sql_profiler;
-- The rows of a trace in short; n: in the order in which they were written, of: the tag of the row around it.
CREATE FUNCTION rows_of(trace int)
RETURNS TABLE (n int, of text, tag text, rows text, sqlstate text, error text, flags text, query text) LANGUAGE sql AS $$
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
SELECT sql_profiler.start('portals') AS id \gset
\o /dev/null
BEGIN;
DECLARE a CURSOR FOR SELECT * FROM generate_series(1, 10);
DECLARE b SCROLL CURSOR FOR SELECT * FROM generate_series(1, 20);
FETCH 3 FROM a;
FETCH 4 FROM b;
FETCH 3 FROM a;
FETCH BACKWARD 2 FROM b;
CLOSE b;
FETCH ALL FROM a;
COMMIT;
BEGIN;
DECLARE held CURSOR WITH HOLD FOR SELECT * FROM generate_series(1, 5);
FETCH 1 FROM held;
COMMIT;
FETCH 2 FROM held;
CLOSE held;
BEGIN;
DECLARE a CURSOR FOR SELECT * FROM generate_series(1, 10);
FETCH 3 FROM a;
SAVEPOINT s;
DECLARE b CURSOR FOR SELECT * FROM generate_series(1, 20);
FETCH 4 FROM b;
ROLLBACK TO s;
FETCH 1 FROM a;
ROLLBACK;
BEGIN;
DECLARE a CURSOR FOR SELECT * FROM generate_series(1, 10);
FETCH 3 FROM a;
SELECT 1 / 0;
ROLLBACK;
BEGIN;
DECLARE a CURSOR FOR SELECT 1 / (3 - g) FROM generate_series(1, 10) g;
FETCH 2 FROM a;
FETCH 2 FROM a;
COMMIT;
\o
SELECT * FROM rows_of(:id);
SELECT sql_profiler.stop(:id);
