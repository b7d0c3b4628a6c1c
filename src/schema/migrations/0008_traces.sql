-- Traces of the SQL profiler, managed from PEM: what people want of them, what agents say of them. People write by functions
-- that judge the invoker, as in 0006; agents learn traces with their definitions and report with pem.sync.
--
-- 1. What is wanted is a state, not a message: a schedule, and the last request with its number. Agents remember the number
--    of the request they have dealt with, so that one that comes twice, late, or after a restart does the same.
-- 2. A run is one trace on the server. Its row is made by the agent's first report; the trace's name there is in it.
-- 3. A trace that was deleted leaves the agent's definitions: the agent ends it on the server and removes its files.
-- 4. Rows (pemhistory.sql_trace_*) outlive trace and run until their retention.

CREATE TABLE pem.trace (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  target_id bigint NOT NULL REFERENCES pem.target,
  name text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  token text NOT NULL DEFAULT left(replace(gen_random_uuid()::text, '-', ''), 8),
  options jsonb NOT NULL,
  schedule jsonb,
  duration_s int CHECK (duration_s BETWEEN 1 AND 2678400),
  events boolean NOT NULL,
  events_per_s int NOT NULL CHECK (events_per_s BETWEEN 1 AND 1000000),
  continuous boolean NOT NULL,
  keep_files boolean NOT NULL,
  created_by name NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
  request text NOT NULL DEFAULT 'none' CHECK (request IN ('none', 'start', 'stop')),
  request_seq int NOT NULL DEFAULT 0,
  requested_by name, requested_at timestamptz,
  deleted_by name, deleted_at timestamptz,
  -- From here on by the agent's word.
  handled_seq int NOT NULL DEFAULT 0,
  state text NOT NULL DEFAULT 'new',
  code text, error text,
  run text,
  next_at timestamptz,
  reported_at timestamptz
) WITH (fillfactor = 70);
CREATE UNIQUE INDEX trace_name ON pem.trace (target_id, name) WHERE deleted_at IS NULL;
COMMENT ON COLUMN pem.trace.token IS 'Part of the trace''s name on the server: no other PEM takes it for its own.';
COMMENT ON COLUMN pem.trace.duration_s IS 'Of each run; NULL: until somebody stops it.';
COMMENT ON COLUMN pem.trace.events_per_s IS 'Statements that travel one by one; what is beyond is in the aggregates alone.';
COMMENT ON COLUMN pem.trace.state IS 'new, idle, starting, running, stopping, blocked (code and error say by what).';

CREATE TABLE pem.trace_run (
  trace_id bigint NOT NULL REFERENCES pem.trace,
  run text NOT NULL,
  target_id bigint NOT NULL REFERENCES pem.target,
  server_id int, server_name text NOT NULL,
  state text NOT NULL,
  started_at timestamptz, stopped_at timestamptz, until_at timestamptz,
  stop_reason text,
  rows_read bigint NOT NULL, bytes_read bigint NOT NULL,
  events_sent bigint NOT NULL, events_dropped bigint NOT NULL,
  rows_skipped bigint NOT NULL, bad_rows bigint NOT NULL, repeated_rows bigint NOT NULL,
  lag_bytes bigint NOT NULL,
  server_rows bigint, server_bytes bigint, server_lost_rows bigint, server_lost_reason text,
  reported_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (trace_id, run)
) WITH (fillfactor = 70);
COMMENT ON TABLE pem.trace_run IS 'What agents said of each trace they ran; server_id is the column trace of pemhistory.sql_trace_*.';
COMMENT ON COLUMN pem.trace_run.events_dropped IS 'Statements counted in the aggregates that did not travel one by one.';
COMMENT ON COLUMN pem.trace_run.rows_skipped IS 'Rows that the agent left unread because it was too far behind: in no aggregate.';
COMMENT ON COLUMN pem.trace_run.repeated_rows IS 'Rows that the agent read beyond what the server had written: some came twice.';

SELECT pem.guard('pem.trace', 'target');
SELECT pem.guard('pem.trace_run', 'target');
GRANT SELECT ON pem.trace, pem.trace_run TO pem_user;
CREATE POLICY master ON pem.trace FOR SELECT TO pem_master USING (true);
CREATE POLICY master ON pem.trace_run FOR SELECT TO pem_master USING (true);
GRANT SELECT ON pem.trace, pem.trace_run TO pem_master;

CREATE FUNCTION pem.seen_trace(trace_id bigint) RETURNS pem.trace
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found_trace pem.trace;
BEGIN
  SELECT x.* INTO found_trace FROM pem.trace x JOIN pem.target t ON t.id = x.target_id
   WHERE x.id = seen_trace.trace_id AND x.deleted_at IS NULL AND t.deleted_at IS NULL
     AND pem.sees(pem.invoker(), t.owner, t.team);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no trace %', seen_trace.trace_id USING ERRCODE = 'PE021';
  END IF;
  RETURN found_trace;
END $$;

-- The agents of a target get their definitions anew.
CREATE FUNCTION pem.bump_target(target_id bigint) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT pem.bump_config(ARRAY(SELECT ta.agent_id FROM pem.target_agent ta
    WHERE ta.target_id = bump_target.target_id AND ta.until IS NULL));
END;

-- Options are checked by the server that runs the trace, times and patterns of a schedule by the program that calls.
CREATE FUNCTION pem.create_trace(target_id bigint, name text, options jsonb, schedule jsonb, duration_s int, events boolean,
  events_per_s int, continuous boolean, keep_files boolean) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  it pem.target := pem.seen_target(create_trace.target_id);
  most_traces CONSTANT int := 100;
  made bigint;
BEGIN
  IF it.kind <> 'server' THEN
    RAISE EXCEPTION 'target % is no server', it.id USING ERRCODE = 'PE022';
  END IF;
  IF name IS NULL OR length(name) NOT BETWEEN 1 AND 200 THEN
    RAISE EXCEPTION 'a trace''s name has 1 to 200 characters' USING ERRCODE = 'PE022';
  END IF;
  IF coalesce(jsonb_typeof(options), '') <> 'object' OR octet_length(options::text) > 8000 THEN
    RAISE EXCEPTION 'options is an object of at most 8000 bytes' USING ERRCODE = 'PE022';
  END IF;
  IF options ? 'duration_s' THEN
    RAISE EXCEPTION 'options: the length of a run is no option, it is duration_s' USING ERRCODE = 'PE022';
  END IF;
  IF schedule IS NOT NULL AND (coalesce(schedule ->> 'kind', '') NOT IN ('once', 'daily', 'cron')
     OR octet_length(schedule::text) > 500 OR duration_s IS NULL) THEN
    RAISE EXCEPTION 'a schedule is once, daily or cron, and needs the length of a run' USING ERRCODE = 'PE022';
  END IF;
  IF duration_s NOT BETWEEN 1 AND 2678400 OR events_per_s IS NULL OR events_per_s NOT BETWEEN 1 AND 1000000
     OR events IS NULL OR continuous IS NULL OR keep_files IS NULL THEN
    RAISE EXCEPTION 'a run takes 1 s to 31 days, events a second are 1 to 1000000' USING ERRCODE = 'PE022';
  END IF;
  IF continuous AND keep_files THEN
    RAISE EXCEPTION 'a continuous trace makes room by removing files that are read: keep_files is not for it'
      USING ERRCODE = 'PE022';
  END IF;
  PERFORM FROM pem.target t WHERE t.id = it.id FOR UPDATE;
  IF (SELECT count(*) FROM pem.trace t WHERE t.target_id = it.id AND t.deleted_at IS NULL) >= most_traces THEN
    RAISE EXCEPTION 'a server has at most % traces; delete some', most_traces USING ERRCODE = 'PE022';
  END IF;
  IF EXISTS (SELECT FROM pem.trace t WHERE t.target_id = it.id AND t.name = create_trace.name AND t.deleted_at IS NULL) THEN
    RAISE EXCEPTION 'there is a trace "%" of that server', name USING ERRCODE = 'PE022';
  END IF;
  INSERT INTO pem.trace (target_id, name, options, schedule, duration_s, events, events_per_s, continuous, keep_files, created_by)
    VALUES (it.id, create_trace.name, create_trace.options, create_trace.schedule, create_trace.duration_s,
      create_trace.events, create_trace.events_per_s, create_trace.continuous, create_trace.keep_files, pem.invoker())
    RETURNING id INTO made;
  PERFORM pem.bump_target(it.id);
  RETURN made;
END $$;

-- A number that no agent has dealt with yet, also where this database was restored and is behind it.
-- Start: a run that begins now, unless one is going on. Stop: the end of the one that is going on; the schedule stays.
CREATE FUNCTION pem.request_trace(trace_id bigint, request text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  it pem.trace := pem.seen_trace(request_trace.trace_id);
BEGIN
  IF request IS NULL OR request NOT IN ('start', 'stop') THEN
    RAISE EXCEPTION 'a trace is started or stopped' USING ERRCODE = 'PE022';
  END IF;
  UPDATE pem.trace t SET request = request_trace.request, request_seq = greatest(t.request_seq, t.handled_seq) + 1, requested_by = pem.invoker(),
      requested_at = now()
   WHERE t.id = it.id;
  PERFORM pem.bump_target(it.target_id);
END $$;

CREATE FUNCTION pem.delete_trace(trace_id bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  it pem.trace := pem.seen_trace(delete_trace.trace_id);
BEGIN
  UPDATE pem.trace t SET deleted_at = now(), deleted_by = pem.invoker() WHERE t.id = it.id;
  PERFORM pem.bump_target(it.target_id);
END $$;
GRANT EXECUTE ON FUNCTION pem.create_trace(bigint, text, jsonb, jsonb, int, boolean, int, boolean, boolean),
  pem.request_trace(bigint, text), pem.delete_trace(bigint) TO pem_admin;

-- What an agent says of the traces of its servers; of others it is passed over. Texts are cut, numbers are checked by their
-- types: an agent that says nonsense ends its own session.
CREATE FUNCTION pem.note_traces(agent_id int, traces jsonb) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  most_reports CONSTANT int := 256;
  most_runs CONSTANT int := 16;
  most_runs_ever CONSTANT bigint := 200000;
BEGIN
  IF jsonb_array_length(traces) > most_reports OR pg_column_size(traces) > 262144 OR EXISTS (
    SELECT FROM jsonb_array_elements(traces) x
     WHERE jsonb_typeof(x) <> 'object' OR jsonb_typeof(coalesce(x -> 'runs', '[]')) <> 'array'
        OR jsonb_array_length(coalesce(x -> 'runs', '[]')) > most_runs) THEN
    RAISE EXCEPTION 'traces: at most % reports of at most % runs and 256 KiB', most_reports, most_runs USING ERRCODE = 'PE004';
  END IF;
  UPDATE pem.trace t SET handled_seq = greatest(t.handled_seq, (x ->> 'handledSeq')::int), state = left(x ->> 'state', 20),
      code = left(x ->> 'code', 63), error = left(x ->> 'error', 1000), run = left(x ->> 'run', 40),
      next_at = pem.moment(x ->> 'nextAtUs'), reported_at = clock_timestamp()
    FROM jsonb_array_elements(traces) x
    JOIN pem.trace o ON o.id = (x ->> 'id')::bigint
    JOIN pem.target_agent ta ON ta.target_id = o.target_id AND ta.agent_id = note_traces.agent_id AND ta.until IS NULL
   WHERE t.id = o.id AND x ->> 'state' IS NOT NULL;
  IF EXISTS (
    SELECT FROM jsonb_array_elements(traces) x CROSS JOIN LATERAL jsonb_array_elements(coalesce(x -> 'runs', '[]')) y
     WHERE NOT EXISTS (SELECT FROM pem.trace_run r WHERE r.trace_id = (x ->> 'id')::bigint AND r.run = left(y ->> 'run', 40))
       AND (SELECT count(*) FROM pem.trace_run r WHERE r.trace_id = (x ->> 'id')::bigint) >= most_runs_ever) THEN
    RAISE EXCEPTION 'a trace has at most % runs', most_runs_ever USING ERRCODE = 'PE004';
  END IF;
  INSERT INTO pem.trace_run AS r (trace_id, run, target_id, server_id, server_name, state, started_at, stopped_at, until_at,
      stop_reason, rows_read, bytes_read, events_sent, events_dropped, rows_skipped, bad_rows, repeated_rows, lag_bytes,
      server_rows, server_bytes, server_lost_rows, server_lost_reason)
    SELECT DISTINCT ON (o.id, y ->> 'run') o.id, left(y ->> 'run', 40), o.target_id, (y ->> 'serverId')::int,
        left(coalesce(y ->> 'serverName', ''), 63), left(coalesce(y ->> 'state', ''), 20), pem.moment(y ->> 'startedUs'),
        pem.moment(y ->> 'stoppedUs'), pem.moment(y ->> 'untilUs'), left(y ->> 'stopReason', 200),
        coalesce((y ->> 'rowsRead')::bigint, 0), coalesce((y ->> 'bytesRead')::bigint, 0),
        coalesce((y ->> 'eventsSent')::bigint, 0), coalesce((y ->> 'eventsDropped')::bigint, 0),
        coalesce((y ->> 'rowsSkipped')::bigint, 0), coalesce((y ->> 'badRows')::bigint, 0),
        coalesce((y ->> 'repeatedRows')::bigint, 0), coalesce((y ->> 'lagBytes')::bigint, 0),
        (y ->> 'serverRows')::bigint, (y ->> 'serverBytes')::bigint, (y ->> 'serverLostRows')::bigint,
        left(y ->> 'serverLostReason', 200)
      FROM jsonb_array_elements(traces) x
      JOIN pem.trace o ON o.id = (x ->> 'id')::bigint
      JOIN pem.target_agent ta ON ta.target_id = o.target_id AND ta.agent_id = note_traces.agent_id AND ta.until IS NULL
      CROSS JOIN LATERAL jsonb_array_elements(coalesce(x -> 'runs', '[]')) y
     WHERE y ->> 'run' IS NOT NULL
  ON CONFLICT (trace_id, run) DO UPDATE SET server_id = excluded.server_id, server_name = excluded.server_name,
      state = excluded.state, started_at = excluded.started_at, stopped_at = excluded.stopped_at,
      until_at = excluded.until_at, stop_reason = excluded.stop_reason, rows_read = excluded.rows_read,
      bytes_read = excluded.bytes_read, events_sent = excluded.events_sent, events_dropped = excluded.events_dropped,
      rows_skipped = excluded.rows_skipped, bad_rows = excluded.bad_rows, repeated_rows = excluded.repeated_rows,
      lag_bytes = excluded.lag_bytes, server_rows = excluded.server_rows, server_bytes = excluded.server_bytes,
      server_lost_rows = excluded.server_lost_rows, server_lost_reason = excluded.server_lost_reason,
      reported_at = clock_timestamp();
END $$;

-- As in 0005, with the traces.
CREATE OR REPLACE FUNCTION pem.definitions(agent pem.agent) RETURNS jsonb
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  WITH mine AS (
    SELECT t.id, t.kind, t.name
      FROM pem.target_agent ta JOIN pem.target t ON t.id = ta.target_id LEFT JOIN pem.server s ON s.target_id = t.id
     WHERE ta.agent_id = agent.id AND ta.until IS NULL AND t.deleted_at IS NULL AND coalesce(s.active, true)
  ), schedule AS (
    SELECT m.id AS target_id, p.name AS probe, coalesce(c.interval_ms, p.interval_ms) AS interval_ms
      FROM mine m
      JOIN pem.probe p ON NOT p.retired AND CASE p.level
        WHEN 'host' THEN m.kind = 'host'
        WHEN 'target' THEN true
        WHEN 'pem' THEN m.id = agent.host_target_id
          AND agent.id::text = (SELECT value FROM pem.config WHERE param = 'master_agent')
        ELSE m.kind = 'server' END
      LEFT JOIN pem.probe_config c ON c.target_id = m.id AND c.probe = p.name
     WHERE coalesce(c.enabled, p.enabled)
  )
  SELECT jsonb_build_object(
    'agentId', agent.id, 'configVersion', agent.config_version, 'hostTarget', agent.host_target_id,
    'probes', (SELECT coalesce(jsonb_object_agg(p.name, p.definition
        - ARRAY['title', 'description', 'history', 'intervalMs', 'retentionDays', 'partition', 'needs', 'enabled']), '{}')
      FROM pem.probe p WHERE p.name IN (SELECT probe FROM schedule)),
    'servers', (SELECT coalesce(jsonb_agg(jsonb_build_object('targetId', s.target_id, 'name', m.name, 'host', s.host,
        'port', s.port, 'database', s.database, 'user', s.username, 'sslmode', s.sslmode) ORDER BY s.target_id), '[]')
      FROM mine m JOIN pem.server s ON s.target_id = m.id),
    'schedule', (SELECT coalesce(jsonb_agg(jsonb_build_object('targetId', target_id, 'probe', probe,
        'intervalMs', interval_ms) ORDER BY target_id, probe), '[]') FROM schedule),
    'traces', (SELECT coalesce(jsonb_agg(jsonb_build_object('id', t.id, 'targetId', t.target_id, 'token', t.token,
        'options', t.options, 'schedule', t.schedule, 'durationS', t.duration_s, 'events', t.events,
        'eventsPerS', t.events_per_s, 'continuous', t.continuous, 'keepFiles', t.keep_files, 'request', t.request,
        'requestSeq', t.request_seq, 'handledSeq', t.handled_seq) ORDER BY t.id), '[]')
      FROM mine m JOIN pem.trace t ON t.target_id = m.id AND t.deleted_at IS NULL));
END;

-- As in 0005, with what the agent says of its traces.
CREATE OR REPLACE FUNCTION pem.sync(request jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  most_boots CONSTANT int := 4096;
  most_boots_ever CONSTANT bigint := 50000;
  me pem.agent;
  beat pem.agent_heartbeat;
  boots uuid[];
  boot_now uuid;
  arrival_now bigint;
  known int;
  received jsonb;
  state jsonb := coalesce(request -> 'info', '{}');
  asked_at CONSTANT timestamptz := clock_timestamp();
  commands jsonb := '[]';
  answer_csr bigint;
  certificate text;
BEGIN
  SELECT * INTO me FROM pem.agent a WHERE a.role = session_user;
  IF NOT FOUND OR NOT me.active THEN
    RAISE EXCEPTION 'agent "%" is not active', session_user USING ERRCODE = 'PE003';
  END IF;
  boots := ARRAY(SELECT jsonb_array_elements_text(request -> 'boots'))::uuid[];
  IF coalesce(cardinality(boots), 0) NOT BETWEEN 1 AND most_boots OR pg_column_size(request) > 1048576 THEN
    RAISE EXCEPTION 'pem.sync wants 1 to % boots and at most 1 MiB', most_boots USING ERRCODE = 'PE004';
  END IF;
  -- Shown to everybody who sees the agent: neither deep nor long, also where it is short here (1e131000 is six digits).
  IF jsonb_typeof(state) <> 'object' OR pg_column_size(state) > 16384 OR jsonb_path_exists(state, 'strict $.**{6}')
     OR octet_length(state::text) > 65536 THEN
    RAISE EXCEPTION 'info is an object of at most 16 KiB and five levels' USING ERRCODE = 'PE004';
  END IF;
  boot_now := boots[cardinality(boots)];
  SELECT * INTO beat FROM pem.agent_heartbeat h WHERE h.agent_id = me.id;

  SELECT count(*), max(r.arrival) FILTER (WHERE r.boot = boot_now),
         jsonb_object_agg(r.boot, (SELECT coalesce(jsonb_agg(jsonb_build_array(lower(x), upper(x))), '[]') FROM unnest(r.ranges) x))
    INTO known, arrival_now, received
    FROM pem.received r WHERE r.agent_id = me.id AND r.boot = ANY (boots);
  IF beat.boot <> boot_now AND arrival_now < beat.arrival AND me.quarantined_reason IS NULL THEN
    me.quarantined_reason := format('cloned: boot %s came back after boot %s', boot_now, beat.boot);
    PERFORM pem.quarantine_agent(me.id, me.quarantined_reason);
  END IF;
  IF known < cardinality(boots) THEN
    IF (SELECT count(*) FROM pem.received r WHERE r.agent_id = me.id) + cardinality(boots) - known > most_boots_ever THEN
      RAISE EXCEPTION 'agent "%" has announced too many boots', session_user USING ERRCODE = 'PE004';
    END IF;
    INSERT INTO pem.received (agent_id, boot)
      SELECT me.id, b.boot
        FROM (SELECT u.boot FROM unnest(boots) WITH ORDINALITY AS u(boot, n)
               WHERE NOT EXISTS (SELECT FROM pem.received r WHERE r.agent_id = me.id AND r.boot = u.boot)
               ORDER BY u.n) b
      ON CONFLICT DO NOTHING;
    SELECT max(r.arrival) FILTER (WHERE r.boot = boot_now),
           jsonb_object_agg(r.boot, (SELECT coalesce(jsonb_agg(jsonb_build_array(lower(x), upper(x))), '[]') FROM unnest(r.ranges) x))
      INTO arrival_now, received
      FROM pem.received r WHERE r.agent_id = me.id AND r.boot = ANY (boots);
  END IF;

  -- Facts are compared with what the agent said last, so that tables of record are touched only when they change.
  IF state -> 'host' IS NOT NULL AND state -> 'host' IS DISTINCT FROM beat.info -> 'host' THEN
    UPDATE pem.host h SET hostname = left(coalesce(state #>> '{host,hostname}', h.hostname), 200),
        os = left(state #>> '{host,os}', 200), kernel = left(state #>> '{host,kernel}', 200),
        cpus = (state #>> '{host,cpus}')::int, memory_bytes = (state #>> '{host,memoryBytes}')::bigint,
        booted_at = pem.moment(state #>> '{host,bootedAtUs}')
     WHERE h.target_id = me.host_target_id;
  END IF;
  IF request -> 'servers' IS NOT NULL AND request -> 'servers' IS DISTINCT FROM beat.servers THEN
    UPDATE pem.server s SET
        server_version_num = coalesce((x ->> 'serverVersionNum')::int, s.server_version_num),
        system_identifier = coalesce((x ->> 'systemIdentifier')::bigint, s.system_identifier),
        error = left(x ->> 'error', 500)
      FROM jsonb_array_elements(request -> 'servers') x
      JOIN pem.target_agent ta ON ta.target_id = (x ->> 'targetId')::bigint AND ta.agent_id = me.id AND ta.until IS NULL
     WHERE s.target_id = ta.target_id;
  END IF;
  IF jsonb_typeof(request -> 'traces') = 'array' AND request -> 'traces' <> '[]' THEN
    PERFORM pem.note_traces(me.id, request -> 'traces');
  END IF;
  IF me.version IS DISTINCT FROM left(request ->> 'version', 50) THEN
    UPDATE pem.agent a SET version = left(request ->> 'version', 50) WHERE a.id = me.id;
  END IF;

  UPDATE pem.agent_heartbeat h
     SET at = asked_at, boot = boot_now, arrival = arrival_now, info = state, servers = request -> 'servers',
         started_at = CASE WHEN h.boot = boot_now THEN h.started_at ELSE asked_at END
   WHERE h.agent_id = me.id;
  IF NOT FOUND THEN
    INSERT INTO pem.agent_heartbeat VALUES (me.id, asked_at, boot_now, arrival_now, asked_at, state, request -> 'servers')
      ON CONFLICT DO NOTHING;
  END IF;

  IF jsonb_array_length(coalesce(request -> 'commandResults', '[]')) > 0 THEN
    UPDATE pem.command c SET done_at = asked_at, result = x - 'id'
      FROM jsonb_array_elements(request -> 'commandResults') x
     WHERE c.id = (x ->> 'id')::bigint AND c.agent_id = me.id AND c.done_at IS NULL;
  END IF;

  IF me.quarantined_reason IS NULL THEN
    -- A command comes once a boot, and again after 30 s without a result: a lost reply must not lose it.
    IF EXISTS (SELECT FROM pem.command c WHERE c.agent_id = me.id AND c.done_at IS NULL) THEN
      WITH sent AS (
        UPDATE pem.command c SET delivered_at = asked_at, delivered_boot = boot_now
         WHERE c.id IN (SELECT o.id FROM pem.command o
            WHERE o.agent_id = me.id AND o.done_at IS NULL
              AND (o.delivered_boot IS DISTINCT FROM boot_now OR o.delivered_at < asked_at - interval '30 s')
            ORDER BY o.id LIMIT 20)
        RETURNING c.id, c.kind, c.payload)
      SELECT coalesce(jsonb_agg(jsonb_build_object('id', s.id, 'kind', s.kind, 'payload', s.payload) ORDER BY s.id), '[]')
        INTO commands FROM sent s;
    END IF;
    SELECT c.id, c.certificate INTO answer_csr, certificate
      FROM pem.csr c WHERE c.agent_id = me.id AND c.certificate IS NOT NULL AND c.delivered_at IS NULL
     ORDER BY c.id DESC LIMIT 1;
    IF answer_csr IS NOT NULL THEN
      UPDATE pem.csr c SET delivered_at = asked_at
       WHERE c.agent_id = me.id AND c.certificate IS NOT NULL AND c.delivered_at IS NULL;
    END IF;
  END IF;

  RETURN jsonb_build_object(
      'now', (extract(epoch FROM asked_at) * 1000000)::bigint, 'configVersion', me.config_version, 'received', received,
      'commands', commands, 'certificate', certificate)
    || CASE WHEN me.quarantined_reason IS NOT NULL THEN jsonb_build_object('quarantined', me.quarantined_reason)
            WHEN (request ->> 'configVersion')::bigint IS DISTINCT FROM me.config_version
              THEN jsonb_build_object('config', pem.definitions(me))
            ELSE '{}'::jsonb END;
END $$;
-- As in 0006, with traces and their texts.
CREATE OR REPLACE FUNCTION pem.collect_garbage() RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  done jsonb := '{}';
  n bigint;
  old name;
BEGIN
  DELETE FROM pem.web_session s WHERE s.expires_at < now();
  GET DIAGNOSTICS n = ROW_COUNT; done := done || jsonb_build_object('sessions', n);
  DELETE FROM pem.one_time_link l WHERE l.expires_at < now() - interval '1 day';
  GET DIAGNOSTICS n = ROW_COUNT; done := done || jsonb_build_object('links', n);
  DELETE FROM pem.stray s WHERE s.at < now() - interval '30 days';
  GET DIAGNOSTICS n = ROW_COUNT; done := done || jsonb_build_object('stray', n);
  DELETE FROM pem.quarantine q WHERE q.at < now() - interval '30 days';
  GET DIAGNOSTICS n = ROW_COUNT; done := done || jsonb_build_object('quarantine', n);
  DELETE FROM pem.command c WHERE c.done_at < now() - interval '30 days';
  GET DIAGNOSTICS n = ROW_COUNT; done := done || jsonb_build_object('commands', n);
  DELETE FROM pem.trace_run r WHERE r.stopped_at < now() - interval '90 days'
    AND NOT EXISTS (SELECT FROM pem.trace t WHERE t.id = r.trace_id AND t.deleted_at IS NULL AND t.run = r.run);
  GET DIAGNOSTICS n = ROW_COUNT; done := done || jsonb_build_object('trace_runs', n);
  DELETE FROM pem.trace t WHERE t.deleted_at < now() - interval '90 days'
    AND NOT EXISTS (SELECT FROM pem.trace_run r WHERE r.trace_id = t.id);
  GET DIAGNOSTICS n = ROW_COUNT; done := done || jsonb_build_object('traces', n);
  -- Agents send a text again every day that its statement runs: one that did not come for so long belongs to nothing.
  IF to_regclass('pemdata.sql_trace_texts') IS NOT NULL THEN
    EXECUTE $sql$DELETE FROM pemdata.sql_trace_texts x WHERE x.recorded_at < now() - make_interval(days => 2 + greatest(
        (SELECT max(p.retention_days) FROM pem.probe p WHERE p.name IN ('sql_trace_statements', 'sql_trace_events')),
        (SELECT max(c.retention_days) FROM pem.probe_config c WHERE c.probe IN ('sql_trace_statements', 'sql_trace_events'))))$sql$;
    GET DIAGNOSTICS n = ROW_COUNT; done := done || jsonb_build_object('trace_texts', n);
  END IF;
  n := 0;
  FOR old IN SELECT t.role FROM pem.registration_token t JOIN pg_roles r ON r.rolname = t.role
              WHERE t.expires_at < now() - interval '1 hour' AND (r.rolcanlogin OR t.used_at IS NOT NULL)
              ORDER BY r.rolcanlogin DESC LIMIT 1000 LOOP
    PERFORM pem.end_sessions(old);
    BEGIN
      PERFORM pem.drop_token_role(old);
      n := n + 1;
    EXCEPTION WHEN dependent_objects_still_exist THEN
      -- ALTER DEFAULT PRIVILEGES is open to everybody: such a role stays, without a login.
      PERFORM pem.set_login(old, false);
    END;
  END LOOP;
  RETURN done || jsonb_build_object('tokens', n);
END $$;
