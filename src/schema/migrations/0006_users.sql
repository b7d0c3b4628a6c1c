-- What people do and see: monitored servers, intervals, teams, status. Writing is by SECURITY DEFINER functions that
-- judge the invoker; reading by security_invoker views under the tables' policies.

CREATE FUNCTION pem.bump_config(agent_ids int[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pem.lock_agent(a.id) FROM pem.agent a WHERE agent_ids IS NULL OR a.id = ANY (agent_ids);
  UPDATE pem.agent SET config_version = nextval('pem.config_version_seq')
   WHERE agent_ids IS NULL OR id = ANY (agent_ids);
END $$;

CREATE FUNCTION pem.seen_target(target_id bigint) RETURNS pem.target
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found_target pem.target;
BEGIN
  SELECT t.* INTO found_target FROM pem.target t
   WHERE t.id = seen_target.target_id AND t.deleted_at IS NULL AND pem.sees(pem.invoker(), t.owner, t.team);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no target %', seen_target.target_id USING ERRCODE = 'PE021';
  END IF;
  RETURN found_target;
END $$;

-- owner NULL: whoever asks; team NULL: the team of the agent's host. Passwords live with the agent (PGPASSFILE).
CREATE FUNCTION pem.add_server(agent_id int, name text, host text, port int, database text, username text,
  sslmode text DEFAULT 'prefer', owner name DEFAULT NULL, team name DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  who name := pem.invoker();
  agent pem.agent := pem.seen_agent(add_server.agent_id);
  host_target pem.target := pem.seen_target(agent.host_target_id);
  made bigint;
BEGIN
  IF name IS NULL OR length(name) NOT BETWEEN 1 AND 200 OR host IS NULL OR length(host) NOT BETWEEN 1 AND 255
     OR port IS NULL OR port NOT BETWEEN 1 AND 65535
     OR database IS NULL OR length(database) NOT BETWEEN 1 AND 63 OR username IS NULL OR length(username) NOT BETWEEN 1 AND 63
     OR sslmode IS NULL OR sslmode NOT IN ('disable', 'allow', 'prefer', 'require', 'verify-ca', 'verify-full') THEN
    RAISE EXCEPTION 'a server needs name, host, port, database, user and an sslmode of libpq' USING ERRCODE = 'PE022';
  END IF;
  PERFORM pem.check_belonging(who, coalesce(owner, who), team);
  INSERT INTO pem.target (kind, name, owner, team)
    VALUES ('server', add_server.name, coalesce(add_server.owner, who), coalesce(add_server.team, host_target.team)) RETURNING id INTO made;
  INSERT INTO pem.server (target_id, host_target_id, host, port, database, username, sslmode)
    VALUES (made, host_target.id, add_server.host, add_server.port, add_server.database, add_server.username, add_server.sslmode);
  INSERT INTO pem.target_agent (target_id, agent_id) VALUES (made, agent.id);
  PERFORM pem.bump_config(ARRAY[agent.id]);
  RETURN made;
END $$;

-- The rows stay until their retention; the agent stops watching at its next sync.
CREATE FUNCTION pem.remove_server(target_id bigint) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  it pem.target := pem.seen_target(remove_server.target_id);
BEGIN
  IF it.kind <> 'server' THEN
    RAISE EXCEPTION 'target % is no server', it.id USING ERRCODE = 'PE022';
  END IF;
  PERFORM pem.bump_config(ARRAY(SELECT ta.agent_id FROM pem.target_agent ta WHERE ta.target_id = it.id AND ta.until IS NULL));
  UPDATE pem.target t SET deleted_at = now() WHERE t.id = it.id;
  UPDATE pem.server s SET active = false WHERE s.target_id = it.id;
  UPDATE pem.target_agent ta SET until = now() WHERE ta.target_id = it.id AND ta.until IS NULL;
END $$;

-- Another agent watches the server from now on; the old binding stays for batches that are still on their way.
CREATE FUNCTION pem.move_server(target_id bigint, agent_id int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  it pem.target := pem.seen_target(move_server.target_id);
  agent pem.agent := pem.seen_agent(move_server.agent_id);
BEGIN
  IF it.kind <> 'server' THEN
    RAISE EXCEPTION 'target % is no server', it.id USING ERRCODE = 'PE022';
  END IF;
  PERFORM pem.bump_config(ARRAY(SELECT ta.agent_id FROM pem.target_agent ta WHERE ta.target_id = it.id AND ta.until IS NULL) || agent.id);
  UPDATE pem.target_agent ta SET until = clock_timestamp() WHERE ta.target_id = it.id AND ta.until IS NULL;
  INSERT INTO pem.target_agent (target_id, agent_id, since) VALUES (it.id, agent.id, clock_timestamp());
  UPDATE pem.server s SET host_target_id = agent.host_target_id WHERE s.target_id = it.id;
END $$;

-- The whole setting of a probe on a target: NULL is "as the catalogue says".
CREATE FUNCTION pem.set_probe_config(target_id bigint, probe text, enabled boolean, interval_ms int, retention_days int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  it pem.target := pem.seen_target(set_probe_config.target_id);
BEGIN
  IF NOT EXISTS (SELECT FROM pem.probe p WHERE p.name = set_probe_config.probe AND NOT p.retired) THEN
    RAISE EXCEPTION 'there is no probe "%"', probe USING ERRCODE = 'PE022';
  END IF;
  IF interval_ms NOT BETWEEN 1000 AND 604800000 OR retention_days NOT BETWEEN 1 AND 36500 THEN
    RAISE EXCEPTION 'an interval is 1 s to 7 days, a retention 1 to 36500 days' USING ERRCODE = 'PE022';
  END IF;
  DELETE FROM pem.probe_config c WHERE c.target_id = it.id AND c.probe = set_probe_config.probe;
  IF enabled IS NOT NULL OR interval_ms IS NOT NULL OR retention_days IS NOT NULL THEN
    INSERT INTO pem.probe_config VALUES (it.id, set_probe_config.probe, set_probe_config.enabled,
      set_probe_config.interval_ms, set_probe_config.retention_days);
  END IF;
  PERFORM pem.bump_config(ARRAY(SELECT ta.agent_id FROM pem.target_agent ta WHERE ta.target_id = it.id AND ta.until IS NULL));
END $$;

-- Only by the owner or a super admin: one member of a team must not take a thing from its owner or the others.
CREATE FUNCTION pem.set_belonging(target_id bigint, owner name, team name) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  it pem.target := pem.seen_target(set_belonging.target_id);
BEGIN
  IF it.owner <> pem.invoker() AND NOT pg_has_role(pem.invoker(), 'pem_super_admin', 'USAGE') THEN
    RAISE EXCEPTION 'target % belongs to "%"', it.id, it.owner USING ERRCODE = 'PE021';
  END IF;
  PERFORM pem.check_belonging(pem.invoker(), owner, team);
  UPDATE pem.target t SET owner = set_belonging.owner, team = set_belonging.team WHERE t.id = it.id;
END $$;

CREATE FUNCTION pem.send_command(agent_id int, kind text, payload jsonb) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  agent pem.agent := pem.seen_agent(send_command.agent_id);
  made bigint;
BEGIN
  IF kind IS NULL OR length(kind) NOT BETWEEN 1 AND 63 OR pg_column_size(payload) > 65536 OR octet_length(payload::text) > 65536
     OR (SELECT count(*) FROM pem.command c WHERE c.agent_id = agent.id AND c.done_at IS NULL) >= 100 THEN
    RAISE EXCEPTION 'a command has a kind and at most 64 KiB, and at most 100 wait for an agent' USING ERRCODE = 'PE022';
  END IF;
  INSERT INTO pem.command (agent_id, kind, payload, created_by)
    VALUES (agent.id, send_command.kind, coalesce(send_command.payload, '{}'), pem.invoker()) RETURNING id INTO made;
  RETURN made;
END $$;
GRANT EXECUTE ON FUNCTION pem.add_server(int, text, text, int, text, text, text, name, name), pem.remove_server(bigint),
  pem.move_server(bigint, int), pem.set_probe_config(bigint, text, boolean, int, int), pem.set_belonging(bigint, name, name),
  pem.send_command(int, text, jsonb) TO pem_admin;

-- Users and teams. level: pem_user | pem_admin | pem_super_admin. A verifier, never a password.
CREATE FUNCTION pem.create_user(username name, level text, verifier text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF level IS NULL OR level NOT IN ('pem_user', 'pem_admin', 'pem_super_admin') THEN
    RAISE EXCEPTION 'a user is a pem_user, pem_admin or pem_super_admin' USING ERRCODE = 'PE022';
  END IF;
  PERFORM pem.make_role(level, username, verifier, NULL);
END $$;
CREATE FUNCTION pem.create_team(team name) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC SELECT pem.make_role('team', team, NULL, NULL); END;
CREATE FUNCTION pem.set_team(username name, team name, joined boolean) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC SELECT pem.set_member(team, username, joined); END;

-- No login from now on; the web programs end the user's sessions within two seconds, direct ones end here.
CREATE FUNCTION pem.disable_user(username name) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- Before and after: an open ALTER ROLE of the user's own would hold off the change.
  PERFORM pem.end_sessions(r.rolname) FROM pg_roles r
    WHERE r.rolname = username AND r.rolname !~ '^pem_' AND pg_has_role(r.oid, 'pem_user', 'MEMBER');
  PERFORM pem.set_login(username, false);
  DELETE FROM pem.web_session s WHERE s.username = disable_user.username;
  PERFORM pem.end_sessions(username);
END $$;
GRANT EXECUTE ON FUNCTION pem.create_user(name, text, text), pem.create_team(name), pem.set_team(name, name, boolean),
  pem.disable_user(name) TO pem_super_admin;

CREATE FUNCTION pem.visible_targets() RETURNS SETOF bigint
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC SELECT id FROM pem.target; END;
GRANT EXECUTE ON FUNCTION pem.visible_targets() TO pem_user;

-- unknown: never heard of since PEM's database started; down: silent for ten seconds.
CREATE VIEW pem.agent_status WITH (security_invoker = true) AS
SELECT a.id AS agent_id, a.display_name, a.host_target_id AS target_id,
       CASE WHEN h.at IS NULL THEN 'unknown'
            WHEN NOT a.active OR h.at < now() - interval '10 s' THEN 'down' ELSE 'up' END AS status,
       h.at AS last_seen, h.boot, h.started_at, a.version, a.active, a.quarantined_reason, a.registered_at, a.cert_not_after,
       t.owner, t.team, o.hostname, o.os, o.kernel, o.cpus, o.memory_bytes, o.booted_at, coalesce(h.info, '{}') AS info
  FROM pem.agent a
  JOIN pem.target t ON t.id = a.host_target_id
  LEFT JOIN pem.host o ON o.target_id = a.host_target_id
  LEFT JOIN pem.agent_heartbeat h ON h.agent_id = a.id;

-- up: its last server_info sample is no older than three intervals (at least 15 s) and its agent, where one may see it,
-- is up; unknown: never sampled, or the agent's clock is so wrong that its samples may not count. A sample is as old as
-- the agent's clock says, corrected by what the agent found ours to be ahead, and at least as old as its coming in: a
-- sample from a long back-fill makes nothing fresh, nor does a clock that runs ahead. What an agent says is a number of
-- any size, or none.
CREATE VIEW pem.server_status WITH (security_invoker = true) AS
SELECT s.target_id, t.name, s.host, s.port, s.database, s.active,
       CASE WHEN p.recorded_at IS NULL THEN 'unknown'
            WHEN least(p.seen_at, p.recorded_at + k.ahead) < now() - greatest(interval '15 s',
                   3 * coalesce(c.interval_ms, i.interval_ms, 5000) * interval '1 ms')
              THEN CASE WHEN k.ahead NOT BETWEEN interval '-1 h' AND interval '1 h' THEN 'unknown' ELSE 'down' END
            WHEN a.status IS NOT NULL AND a.status <> 'up' THEN a.status
            ELSE 'up' END AS status,
       ta.agent_id, s.host_target_id, s.server_version_num, s.system_identifier, s.error,
       t.owner, t.team, p.recorded_at AS last_sample
  FROM pem.server s
  JOIN pem.target t ON t.id = s.target_id AND t.deleted_at IS NULL
  LEFT JOIN pem.target_agent ta ON ta.target_id = s.target_id AND ta.until IS NULL
  LEFT JOIN pem.probe_state p ON p.target_id = s.target_id AND p.probe = 'server_info' AND p.scope = ''
  LEFT JOIN pem.probe i ON i.name = 'server_info'
  LEFT JOIN pem.probe_config c ON c.target_id = s.target_id AND c.probe = 'server_info'
  LEFT JOIN pem.agent_status a ON a.agent_id = ta.agent_id
  CROSS JOIN LATERAL (SELECT CASE WHEN jsonb_typeof(a.info -> 'clockOffsetUs') = 'number'
      THEN greatest(least((a.info -> 'clockOffsetUs')::numeric, 1e15), -1e15)::float8 * interval '1 us' END AS ahead) k;
GRANT SELECT ON pem.agent_status, pem.server_status TO pem_user;

-- Quarantine is unreadable; this says how much of it is there, of the agents one sees.
CREATE FUNCTION pem.quarantine_totals() RETURNS TABLE (agent_id int, code text, count bigint, last_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT q.agent_id, q.code, count(*), max(q.at)
    FROM pem.quarantine q JOIN pem.agent a ON a.id = q.agent_id JOIN pem.target t ON t.id = a.host_target_id
   WHERE pem.sees(pem.invoker(), t.owner, t.team)
   GROUP BY 1, 2 ORDER BY 1, 2;
END;
GRANT EXECUTE ON FUNCTION pem.quarantine_totals() TO pem_user;

CREATE FUNCTION pem.inbox_totals() RETURNS TABLE (batches bigint, bytes bigint, oldest_at timestamptz)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT count(*), coalesce(sum(s.bytes), 0)::bigint, min(s.arrived_at) FROM pem_inbox.slots s
   WHERE NOT EXISTS (SELECT FROM pem.received r WHERE r.agent_id = s.agent_id AND r.boot = s.boot AND r.ranges @> s.seq)
     AND NOT EXISTS (SELECT FROM pem.quarantine q WHERE q.inbox_id = s.id);
END;
GRANT EXECUTE ON FUNCTION pem.inbox_totals() TO pem_super_admin, pem_ingest, pem_master;

-- The probe ingest_self reads it as pem_master.
CREATE FUNCTION pem.ingest_self() RETURNS TABLE (name text, lag_ms float8, inbox_batches bigint, inbox_bytes bigint,
  batches bigint, rows bigint, duplicates bigint, quarantined bigint, stray bigint, cycle_ms float8)
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT i.name, (i.info ->> 'lag_ms')::float8, t.batches, t.bytes, (i.info ->> 'batches')::bigint,
         (i.info ->> 'rows')::bigint, (i.info ->> 'duplicates')::bigint, (i.info ->> 'quarantined')::bigint,
         (i.info ->> 'stray')::bigint, (i.info ->> 'cycle_ms')::float8
    FROM pem.ingester i, pem.inbox_totals() t;
END;
GRANT EXECUTE ON FUNCTION pem.ingest_self() TO pem_master;

-- One of agent 1's duties: what is over is removed. Returns how many rows of each kind.
CREATE FUNCTION pem.collect_garbage() RETURNS jsonb
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
GRANT EXECUTE ON FUNCTION pem.collect_garbage() TO pem_master;
