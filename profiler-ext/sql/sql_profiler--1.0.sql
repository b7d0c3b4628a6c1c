/*
 * sql_profiler 1.0: the functions that control and read traces. README.md describes them. Nobody but superusers may use
 * them without a grant; members of pg_read_all_stats (pg_monitor has it) are given one here.
 */
\echo Use "CREATE EXTENSION sql_profiler" to load this file. \quit

CREATE FUNCTION start(name text, options jsonb DEFAULT '{}')
RETURNS int
AS 'MODULE_PATHNAME', 'prof_start'
LANGUAGE C VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION stop(id int)
RETURNS void
AS 'MODULE_PATHNAME', 'prof_stop'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION drop(id int)
RETURNS void
AS 'MODULE_PATHNAME', 'prof_drop'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION list(
  OUT id int,
  OUT name text,
  OUT state text,
  OUT started_at timestamptz,
  OUT stopped_at timestamptz,
  OUT stop_reason text,
  OUT options jsonb,
  OUT files int8,
  OUT bytes int8,
  OUT rows int8,
  OUT lost_rows int8,
  OUT lost_reason text,
  OUT owner text)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'prof_list'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

CREATE VIEW traces AS SELECT * FROM list();

CREATE FUNCTION progress(id int, OUT slot int, OUT file int, OUT committed_bytes int8, OUT rows int8)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'prof_progress'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION changed(id int, since int8, OUT slot int, OUT file int, OUT committed_bytes int8, OUT version int8)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'prof_changed'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

CREATE FUNCTION read(id int, slot int, file int, from_bytes int8, max_bytes int DEFAULT 1048576)
RETURNS bytea
AS 'MODULE_PATHNAME', 'prof_read'
LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA @extschema@ FROM PUBLIC;
-- The view shows what list() shows, and that to whoever may execute it.
GRANT USAGE ON SCHEMA @extschema@ TO PUBLIC;
GRANT SELECT ON traces TO PUBLIC;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA @extschema@ TO pg_read_all_stats;
