-- Options of a trace: what is taken, and what each refusal says.
CREATE EXTENSION sql_profiler;
\set VERBOSITY terse
SELECT sql_profiler.start('options', '[]');
SELECT sql_profiler.start('options', '3');
SELECT sql_profiler.start('options', '{"no_such": 1}');
SELECT sql_profiler.start('options', '{"databases": "postgres"}');
SELECT sql_profiler.start('options', '{"databases": []}');
SELECT sql_profiler.start('options', '{"databases": {"a": 1}}');
SELECT sql_profiler.start('options', '{"users": ["a", 1]}');
SELECT sql_profiler.start('options', '{"users": [["a"]]}');
SELECT sql_profiler.start('options', '{"users": null}');
SELECT sql_profiler.start('options', jsonb_build_object('applications', jsonb_build_array(repeat('x', 64))));
SELECT sql_profiler.start('options', jsonb_build_object('applications', (SELECT jsonb_agg(repeat('x', 63)) FROM generate_series(1, 64))));
SELECT sql_profiler.start('options', '{"clients": ["example.com"]}');
SELECT sql_profiler.start('options', '{"clients": ["10.0.0.0/33"]}');
SELECT sql_profiler.start('options', '{"clients": ["::/129"]}');
SELECT sql_profiler.start('options', '{"clients": ["10.0.0.0/"]}');
SELECT sql_profiler.start('options', '{"clients": ["10.0.0.0/8 "]}');
SELECT sql_profiler.start('options', '{"clients": ["[Local]"]}');
SELECT sql_profiler.start('options', '{"min_duration_us": -1}');
SELECT sql_profiler.start('options', '{"min_duration_us": 1.5}');
SELECT sql_profiler.start('options', '{"min_duration_us": "1"}');
SELECT sql_profiler.start('options', '{"min_duration_us": 1e30}');
SELECT sql_profiler.start('options', '{"kinds": ["SELECT"]}');
SELECT sql_profiler.start('options', '{"kinds": "select"}');
SELECT sql_profiler.start('options', '{"kinds": []}');
SELECT sql_profiler.start('options', '{"sample_rate": 0}');
SELECT sql_profiler.start('options', '{"sample_rate": 1.01}');
SELECT sql_profiler.start('options', '{"sample_rate": "0.5"}');
SELECT sql_profiler.start('options', '{"nested": 1}');
SELECT sql_profiler.start('options', '{"duration_s": 0}');
SELECT sql_profiler.start('options', '{"duration_s": 31622401}');
SELECT sql_profiler.start('options', '{"max_file_bytes": 65535}');
SELECT sql_profiler.start('options', '{"max_total_bytes": 262143}');
SELECT sql_profiler.start('options', '{"max_query_bytes": 67108865}');
SELECT sql_profiler.start('options', '{"max_params_bytes": true}');
SELECT sql_profiler.start('options', '{"max_plan_bytes": [1]}');
SELECT sql_profiler.start('options', '{"max_error_bytes": 1048577}');
SELECT sql_profiler.start('options', '{"params": "yes"}');
SELECT sql_profiler.start('options', '{"plan": "xml"}');
SELECT sql_profiler.start('options', '{"plan": true}');
SELECT sql_profiler.start('options', '{"plan_min_us": -5}');
SELECT sql_profiler.start('options', '{"rusage": null}');
SELECT sql_profiler.start('options', '{"workers": 0}');
SELECT sql_profiler.start('options', jsonb_build_object('users', jsonb_build_array(repeat('x', 63)), 'params', true, 'kinds', (SELECT jsonb_agg('select'::text) FROM generate_series(1, 1000))));
SELECT sql_profiler.start(repeat('n', 64));
SELECT sql_profiler.start('');
SELECT sql_profiler.start(NULL);
SELECT sql_profiler.start('options', NULL);
-- Nothing was started by any of them.
SELECT count(*) FROM sql_profiler.traces;
\set VERBOSITY default
SELECT sql_profiler.start('hint', '{"no_such": 1}');
-- All of them at once.
SELECT sql_profiler.start('everything', '{"databases": ["a", "b"], "users": ["u"], "applications": ["", "x"],
  "clients": ["192.0.2.1", "192.0.2.0/24", "2001:db8::/32", "::1", "[local]"], "min_duration_us": 5.00,
  "kinds": ["select", "insert", "update", "delete", "merge", "ddl", "utility", "copy", "txn"], "sample_rate": 0.25,
  "nested": false, "duration_s": 3600, "max_file_bytes": 65536, "max_total_bytes": 262144, "max_query_bytes": 100,
  "max_params_bytes": 0, "max_plan_bytes": 1000, "max_error_bytes": 100, "params": true, "plan": "json", "plan_min_us": 1,
  "rusage": true, "workers": true}');
SELECT id, name, state, stop_reason, jsonb_pretty(options) AS options, files, rows, lost_rows, lost_reason
  FROM sql_profiler.traces;
SELECT sql_profiler.start('everything');
SELECT sql_profiler.drop(1);
SELECT sql_profiler.stop(1);
SELECT sql_profiler.stop(1);
SELECT state, stop_reason, stopped_at >= started_at AS stopped FROM sql_profiler.traces;
SELECT sql_profiler.drop(1);
SELECT sql_profiler.drop(1);
SELECT sql_profiler.stop(NULL);
SELECT sql_profiler.start('everything') AS id \gset
SELECT sql_profiler.stop(:id), sql_profiler.drop(:id);
SELECT * FROM sql_profiler.traces;
-- Rights.
SELECT proname, array_agg(DISTINCT grantee::regrole::text ORDER BY grantee::regrole::text)
  FROM pg_proc, aclexplode(proacl) WHERE pronamespace = 'sql_profiler'::regnamespace GROUP BY 1 ORDER BY 1;
-- Settings.
SELECT name, setting, unit, context, boot_val FROM pg_settings WHERE name LIKE 'sql\_profiler.%' ORDER BY 1;
SET sql_profiler.enabled = off;
DROP EXTENSION sql_profiler;
