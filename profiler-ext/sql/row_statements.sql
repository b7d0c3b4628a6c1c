-- What is a row: statements, commands, what is nested in them.
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
CREATE TABLE t (a int PRIMARY KEY, b text);
CREATE TABLE log (a int);
CREATE FUNCTION logged() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO log VALUES (NEW.a); RETURN NEW; END $$;
CREATE TRIGGER logged AFTER INSERT ON t FOR EACH ROW EXECUTE FUNCTION logged();
CREATE FUNCTION counts(int) RETURNS bigint LANGUAGE plpgsql AS
  $$ BEGIN RETURN (SELECT count(*) FROM t WHERE a > $1); END $$;
CREATE PROCEDURE committing() LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO log VALUES (1); COMMIT; INSERT INTO log VALUES (2); ROLLBACK; END $$;
SELECT sql_profiler.start('statements') AS id \gset
\o /dev/null
INSERT INTO t VALUES (1, 'one'), (2, 'two');
SELECT counts(1), "b" FROM t WHERE b = 'one, "two"
three';
UPDATE t SET b = b || '!' WHERE a = 1;
SELECT 1 \; SELECT 2 \; DELETE FROM t WHERE a = 2;
EXPLAIN SELECT * FROM t;
EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF, SUMMARY OFF) SELECT * FROM t;
PREPARE p(int) AS SELECT * FROM t WHERE a = $1;
EXECUTE p(1);
CREATE TABLE made AS SELECT * FROM t;
COPY (SELECT a FROM made) TO '/dev/null';
ALTER TABLE made ADD c serial;
DROP TABLE made;
DO $$ BEGIN PERFORM counts(0); END $$;
CALL committing();
BEGIN;
SAVEPOINT s;
INSERT INTO log VALUES (3);
ROLLBACK TO s;
COMMIT;
SHOW server_encoding;
\o
SELECT * FROM rows_of(:id);
SELECT sql_profiler.stop(:id);
