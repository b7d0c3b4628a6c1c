-- Cursors: in pieces, side by side, held, closed by a rollback, an error, a savepoint.
CREATE SCHEMA row_portals;
SET search_path = row_portals, public;
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
