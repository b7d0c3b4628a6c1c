-- Errors at every stage, within functions, of the commit; secrets in texts that fail.
CREATE SCHEMA row_errors;
SET search_path = row_errors, public;
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
