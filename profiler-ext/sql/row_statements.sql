-- What is a row: statements, commands, what is nested in them.
CREATE SCHEMA row_statements;
SET search_path = row_statements, public;
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
