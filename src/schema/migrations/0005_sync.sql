-- pem.sync: what an agent asks once a second. In: its boots, its state; out: what PEM has of them, and what is new.
-- Most calls find nothing new: five index look-ups and one HOT update of an unlogged row. Measured with 2,000 agents on
-- PostgreSQL 15.18, pgbench over a unix socket, one boot announced: 0.12 ms a statement, 90 µs of server CPU, of which 16
-- are an empty statement's; with a configuration of 14 probes, a host and a server, 2.6 ms.
--
-- 1. Boots are announced oldest first; an unknown one gets its arrival in that order. Arrival orders boots for latest.
-- 2. A boot never comes back: when the newest boot is one that another, younger boot had followed, two copies of one
--    agent are running. The agent is quarantined until somebody looks (pem.release_agent).
-- 3. A configuration is sent when the agent's version is another than ours, also a larger one: after a restore ours may
--    be the smaller.

-- What of a probe an agent needs (ProbeRuntime in src/wire/config.ts); agents ignore fields they do not know.
CREATE FUNCTION pem.definitions(agent pem.agent) RETURNS jsonb
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
        'intervalMs', interval_ms) ORDER BY target_id, probe), '[]') FROM schedule));
END;

CREATE FUNCTION pem.sync(request jsonb) RETURNS jsonb
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
GRANT EXECUTE ON FUNCTION pem.sync(jsonb) TO pem_agent;
