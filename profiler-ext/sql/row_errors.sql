-- Errors at every stage, within functions, of the commit; secrets in texts that fail.
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
CREATE TABLE t (a int PRIMARY KEY);
CREATE TABLE child (a int REFERENCES t DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION fails(int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN RETURN 1 / $1; END $$;
CREATE FUNCTION catches() RETURNS int LANGUAGE plpgsql AS
  $$ BEGIN PERFORM fails(0); RETURN 1; EXCEPTION WHEN division_by_zero THEN RETURN 0; END $$;
SELECT sql_profiler.start('errors') AS id \gset
\set VERBOSITY terse
\o /dev/null
SELEKT 1;
SELECT * FROM missing;
SELECT 1 / 0;
SELECT fails(0);
DO $$ BEGIN PERFORM fails(0); END $$;
SELECT catches();
DROP TABLE missing;
INSERT INTO t VALUES (1), (1);
INSERT INTO child VALUES (7);
BEGIN;
INSERT INTO child VALUES (8);
SET CONSTRAINTS ALL IMMEDIATE;
SELECT 1;
COMMIT;
BEGIN;
INSERT INTO child VALUES (9);
COMMIT;
SET statement_timeout = 20;
SELECT pg_sleep(5);
RESET statement_timeout;
ALTER ROLE nobody PASSWORD 'never shown';
ALTER ROLE nobody PASSWORD never_shown;
ALTER ROLE nobody PASWORD 'never shown';
\o
SELECT * FROM rows_of(:id);
SELECT sql_profiler.stop(:id);
