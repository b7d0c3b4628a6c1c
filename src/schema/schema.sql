-- Made by "npm run schema:dump": roles and pg_dump --schema-only of PostgreSQL 15. Not for editing.

CREATE ROLE pem_admin;
ALTER ROLE pem_admin WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE pem_agent;
ALTER ROLE pem_agent WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE pem_history;
ALTER ROLE pem_history WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE pem_ingest;
ALTER ROLE pem_ingest WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION BYPASSRLS;
CREATE ROLE pem_master;
ALTER ROLE pem_master WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE pem_owner;
ALTER ROLE pem_owner WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE pem_registering;
ALTER ROLE pem_registering WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE pem_registrar;
ALTER ROLE pem_registrar WITH NOSUPERUSER INHERIT CREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE pem_signer;
ALTER ROLE pem_signer WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE pem_super_admin;
ALTER ROLE pem_super_admin WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE pem_team;
ALTER ROLE pem_team WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE pem_user;
ALTER ROLE pem_user WITH NOSUPERUSER INHERIT NOCREATEROLE NOCREATEDB NOLOGIN NOREPLICATION NOBYPASSRLS;
CREATE ROLE pem_web;
ALTER ROLE pem_web WITH NOSUPERUSER NOINHERIT NOCREATEROLE NOCREATEDB LOGIN NOREPLICATION NOBYPASSRLS;
GRANT pem_admin TO pem_super_admin GRANTED BY postgres;
GRANT pem_history TO pem_ingest GRANTED BY postgres;
GRANT pem_history TO pem_master GRANTED BY postgres;
GRANT pem_history TO pem_owner GRANTED BY postgres;
GRANT pem_user TO pem_admin GRANTED BY postgres;
GRANT pg_read_all_stats TO pem_owner GRANTED BY postgres;
GRANT pg_signal_backend TO pem_owner GRANTED BY postgres;

CREATE SCHEMA pem;

ALTER SCHEMA pem OWNER TO pem_owner;

CREATE SCHEMA pem_inbox;

ALTER SCHEMA pem_inbox OWNER TO pem_owner;

CREATE SCHEMA pemdata;

ALTER SCHEMA pemdata OWNER TO pem_owner;

CREATE SCHEMA pemhistory;

ALTER SCHEMA pemhistory OWNER TO pem_owner;

CREATE SCHEMA pempart;

ALTER SCHEMA pempart OWNER TO pem_owner;

CREATE FUNCTION pem.add_server(agent_id integer, name text, host text, port integer, database text, username text, sslmode text DEFAULT 'prefer'::text, owner name DEFAULT NULL::name, team name DEFAULT NULL::name) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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

ALTER FUNCTION pem.add_server(agent_id integer, name text, host text, port integer, database text, username text, sslmode text, owner name, team name) OWNER TO pem_owner;

CREATE FUNCTION pem.add_unmanaged_server(name text, host text, port integer, database text, username text, sslmode text, owner name, team name) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
  who name := pem.invoker();
  most_servers CONSTANT int := 1000;
  made bigint;
BEGIN
  IF name IS NULL OR length(name) NOT BETWEEN 1 AND 200 THEN
    RAISE EXCEPTION 'name: a server''s name has 1 to 200 characters' USING ERRCODE = 'PE022';
  END IF;
  IF host IS NULL OR length(host) > 255 OR host !~ '^[0-9A-Za-z:][0-9A-Za-z._:%-]*$' THEN
    RAISE EXCEPTION 'host: one name or address, no path and no list' USING ERRCODE = 'PE022';
  END IF;
  IF port IS NULL OR port NOT BETWEEN 1 AND 65535 THEN
    RAISE EXCEPTION 'port: 1 to 65535' USING ERRCODE = 'PE022';
  END IF;
  IF database IS NULL OR octet_length(database) NOT BETWEEN 1 AND 63 OR username IS NULL OR octet_length(username) NOT BETWEEN 1 AND 63 THEN
    RAISE EXCEPTION 'database and user have 1 to 63 bytes' USING ERRCODE = 'PE022';
  END IF;
  IF sslmode IS NULL OR sslmode NOT IN ('verify-full', 'verify-ca', 'require', 'disable') THEN
    RAISE EXCEPTION 'sslmode: verify-full, verify-ca, require or disable' USING ERRCODE = 'PE022';
  END IF;
  PERFORM pem.check_belonging(who, coalesce(owner, who), team);
  IF (SELECT count(*) FROM pem.server s JOIN pem.target t ON t.id = s.target_id
       WHERE NOT s.managed AND t.deleted_at IS NULL AND t.owner = coalesce(add_unmanaged_server.owner, who)) >= most_servers THEN
    RAISE EXCEPTION 'a user has at most % servers without an agent; remove some', most_servers USING ERRCODE = 'PE022';
  END IF;
  INSERT INTO pem.target (kind, name, owner, team)
    VALUES ('server', add_unmanaged_server.name, coalesce(add_unmanaged_server.owner, who), add_unmanaged_server.team) RETURNING id INTO made;
  INSERT INTO pem.server (target_id, host, port, database, username, sslmode, managed)
    VALUES (made, add_unmanaged_server.host, add_unmanaged_server.port, add_unmanaged_server.database,
      add_unmanaged_server.username, add_unmanaged_server.sslmode, false);
  RETURN made;
END $_$;

ALTER FUNCTION pem.add_unmanaged_server(name text, host text, port integer, database text, username text, sslmode text, owner name, team name) OWNER TO pem_owner;

CREATE FUNCTION pem.admit_boots(agent_ids integer[], boots uuid[]) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '100ms'
    AS $$
DECLARE
  it record;
BEGIN
  FOR it IN SELECT u.agent_id, u.boot FROM unnest(agent_ids, boots) AS u(agent_id, boot) LOOP
    BEGIN
      INSERT INTO pem.received (agent_id, boot) VALUES (it.agent_id, it.boot) ON CONFLICT DO NOTHING;
    EXCEPTION WHEN lock_not_available THEN
      PERFORM pem.end_sessions(a.role) FROM pem.agent a WHERE a.id = it.agent_id;
    END;
  END LOOP;
END $$;

ALTER FUNCTION pem.admit_boots(agent_ids integer[], boots uuid[]) OWNER TO pem_owner;

CREATE FUNCTION pem.be_tracer(instance uuid, hostname text) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  made int;
  host_target bigint;
  display CONSTANT text := left('web server ' || coalesce(nullif(hostname, ''), 'unknown'), 200);
BEGIN
  SELECT a.id INTO made FROM pem.agent a WHERE a.instance = be_tracer.instance;
  IF FOUND THEN
    DELETE FROM pem.server_connection c WHERE c.agent_id = made;
    RETURN made;
  END IF;
  IF be_tracer.instance IS NULL OR (SELECT count(*) FROM pem.agent a WHERE a.instance IS NOT NULL) >= 10000 THEN
    RAISE EXCEPTION 'too many web servers have traced; each keeps its folder' USING ERRCODE = 'PE022';
  END IF;
  -- No host that anybody watches: super admins see it as the agent's.
  INSERT INTO pem.target (kind, name, owner, deleted_at) VALUES ('host', display, 'pem_owner', now()) RETURNING id INTO host_target;
  made := nextval('pem.tracer_seq');
  INSERT INTO pem.agent (id, role, display_name, host_target_id, instance)
    VALUES (made, 'tracer' || made, display, host_target, be_tracer.instance);
  RETURN made;
END $$;

ALTER FUNCTION pem.be_tracer(instance uuid, hostname text) OWNER TO pem_owner;

CREATE FUNCTION pem.bound_unmanaged_trace() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  usual_s CONSTANT int := 3600;
  most_s CONSTANT int := 86400;
  usual_bytes CONSTANT bigint := 1073741824;
  most_bytes CONSTANT bigint := 17179869184;
BEGIN
  IF NOT EXISTS (SELECT FROM pem.server s WHERE s.target_id = NEW.target_id AND NOT s.managed) THEN
    RETURN NEW;
  END IF;
  IF NOT EXISTS (SELECT FROM pem.server_connection c WHERE c.target_id = NEW.target_id AND c.username = pem.invoker()) THEN
    RAISE EXCEPTION 'server % has no agent: connect to it first, with its password', NEW.target_id USING ERRCODE = 'PE026';
  END IF;
  IF TG_OP = 'UPDATE' THEN
    RETURN NEW;
  END IF;
  IF NEW.schedule IS NOT NULL OR NEW.continuous THEN
    RAISE EXCEPTION 'a server without an agent has no schedules and no continuous traces: nobody may be connected then' USING ERRCODE = 'PE022';
  END IF;
  NEW.duration_s := coalesce(NEW.duration_s, usual_s);
  IF NEW.duration_s > most_s THEN
    RAISE EXCEPTION 'a run takes at most % s on a server without an agent', most_s USING ERRCODE = 'PE022';
  END IF;
  IF coalesce(jsonb_typeof(NEW.options -> 'max_total_bytes'), 'null') = 'null' THEN
    NEW.options := NEW.options || jsonb_build_object('max_total_bytes', usual_bytes);
  ELSIF jsonb_typeof(NEW.options -> 'max_total_bytes') <> 'number' OR (NEW.options ->> 'max_total_bytes')::numeric > most_bytes THEN
    RAISE EXCEPTION 'options max_total_bytes: at most % on a server without an agent', most_bytes USING ERRCODE = 'PE022';
  END IF;
  RETURN NEW;
END $$;

ALTER FUNCTION pem.bound_unmanaged_trace() OWNER TO pem_owner;

CREATE FUNCTION pem.bump_config(agent_ids integer[] DEFAULT NULL::integer[]) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  PERFORM pem.lock_agent(a.id) FROM pem.agent a WHERE agent_ids IS NULL OR a.id = ANY (agent_ids);
  UPDATE pem.agent SET config_version = nextval('pem.config_version_seq')
   WHERE agent_ids IS NULL OR id = ANY (agent_ids);
END $$;

ALTER FUNCTION pem.bump_config(agent_ids integer[]) OWNER TO pem_owner;

CREATE TABLE pem.target_agent (
    target_id bigint NOT NULL,
    agent_id integer NOT NULL,
    since timestamp with time zone DEFAULT now() NOT NULL,
    until timestamp with time zone
);

ALTER TABLE pem.target_agent OWNER TO pem_owner;

COMMENT ON TABLE pem.target_agent IS 'Who may report for a target, and might in the past: late batches are judged by it.';

CREATE FUNCTION pem.bump_target(target_id bigint) RETURNS void
    LANGUAGE sql
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT pem.bump_config(ARRAY( SELECT ta.agent_id
            FROM pem.target_agent ta
           WHERE ((ta.target_id = bump_target.target_id) AND (ta.until IS NULL)))) AS bump_config;
END;

ALTER FUNCTION pem.bump_target(target_id bigint) OWNER TO pem_owner;

CREATE FUNCTION pem.certificate(csr_id bigint) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  answer pem.csr;
BEGIN
  SELECT c.* INTO answer FROM pem.csr c JOIN pem.agent a ON a.id = c.agent_id
   WHERE c.id = certificate.csr_id AND a.role = session_user AND a.active;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no such request of yours' USING ERRCODE = 'PE021';
  END IF;
  IF answer.refused_reason IS NOT NULL THEN
    RAISE EXCEPTION 'the certificate was refused: %', answer.refused_reason USING ERRCODE = 'PE024';
  END IF;
  RETURN answer.certificate;
END $$;

ALTER FUNCTION pem.certificate(csr_id bigint) OWNER TO pem_owner;

CREATE FUNCTION pem.check_belonging(who name, owner name, team name) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF owner IS NULL OR to_regrole(quote_ident(owner::text)) IS NULL
     OR (team IS NOT NULL AND to_regrole(quote_ident(team::text)) IS NULL) THEN
    RAISE EXCEPTION 'owner "%" or team "%" does not exist', owner, team USING ERRCODE = 'PE022';
  END IF;
  -- Groups are neither: SET ROLE pem_admin makes no owner without a name, team pem_user shows nothing to everybody.
  IF owner ~ '^(pem_|reg_[0-9]|agent[0-9])' OR (team IS NOT NULL AND NOT pg_has_role(team, 'pem_team', 'MEMBER')) THEN
    RAISE EXCEPTION 'owner "%" is no user or team "%" no team', owner, team USING ERRCODE = 'PE022';
  END IF;
  IF pg_has_role(who, 'pem_super_admin', 'USAGE') THEN
    RETURN;
  END IF;
  IF owner <> who OR (team IS NOT NULL AND NOT pg_has_role(who, team, 'USAGE')) THEN
    RAISE EXCEPTION 'things can be made for yourself and your teams only' USING ERRCODE = 'PE021';
  END IF;
END $$;

ALTER FUNCTION pem.check_belonging(who name, owner name, team name) OWNER TO pem_owner;

CREATE FUNCTION pem.check_user(username name) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = username AND NOT r.rolsuper AND r.rolname !~ '^(pem_|reg_[0-9]|agent[0-9])'
                    AND pg_has_role(r.oid, 'pem_user', 'MEMBER')) THEN
    RAISE EXCEPTION '"%" is no user of PEM', username USING ERRCODE = 'PE012';
  END IF;
END $$;

ALTER FUNCTION pem.check_user(username name) OWNER TO pem_owner;

CREATE FUNCTION pem.collect_garbage() RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
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
  RETURN done || jsonb_build_object('tokens', n, 'latest', pem.collect_removed());
END $_$;

ALTER FUNCTION pem.collect_garbage() OWNER TO pem_owner;

CREATE FUNCTION pem.collect_removed() RETURNS bigint
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
  gone bigint[] := ARRAY(SELECT DISTINCT p.target_id FROM pem.probe_state p JOIN pem.target t ON t.id = p.target_id
                          WHERE t.deleted_at < now() - interval '30 days'
                            AND NOT EXISTS (SELECT FROM pem.agent a WHERE a.host_target_id = t.id AND a.instance IS NOT NULL) LIMIT 100);
  latest regclass;
  n bigint;
  total bigint := 0;
BEGIN
  IF cardinality(gone) = 0 THEN
    RETURN 0;
  END IF;
  FOR latest IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'pemdata'::regnamespace AND c.relkind = 'r' LOOP
    EXECUTE format('DELETE FROM %s WHERE target_id = ANY ($1)', latest) USING gone;
    GET DIAGNOSTICS n = ROW_COUNT;
    total := total + n;
  END LOOP;
  DELETE FROM pem.probe_state p WHERE p.target_id = ANY (gone);
  RETURN total;
END $_$;

ALTER FUNCTION pem.collect_removed() OWNER TO pem_owner;

CREATE FUNCTION pem.make_role(kind text, role name, verifier text, valid_until timestamp with time zone) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
BEGIN
  IF kind IN ('registering', 'pem_user', 'pem_admin', 'pem_super_admin')
     AND (verifier IS NULL OR verifier !~ '^SCRAM-SHA-256\$[0-9]{4,7}:[A-Za-z0-9+/=]{20,100}\$[A-Za-z0-9+/=]{44}:[A-Za-z0-9+/=]{44}$') THEN
    RAISE EXCEPTION 'not a SCRAM-SHA-256 verifier' USING ERRCODE = 'PE011';
  END IF;
  CASE
    WHEN kind = 'agent' AND role ~ '^agent[1-9][0-9]{0,8}$' THEN
      EXECUTE format('CREATE ROLE %I LOGIN CONNECTION LIMIT 2 IN ROLE pem_agent', role);
    WHEN kind = 'registering' AND role ~ '^reg_[1-9][0-9]{0,17}$' THEN
      EXECUTE format('CREATE ROLE %I LOGIN CONNECTION LIMIT 1 PASSWORD %L VALID UNTIL %L IN ROLE pem_registering',
        role, verifier, valid_until);
    WHEN kind IN ('team', 'pem_user', 'pem_admin', 'pem_super_admin')
      AND role !~ '^(pg_|pem_|reg_|agent[0-9])' AND role NOT IN ('postgres', 'public', 'none', '') THEN
      IF kind = 'team' THEN
        EXECUTE format('CREATE ROLE %I NOLOGIN IN ROLE pem_team', role);
      ELSE
        -- CREATE ROLE would say so itself, with its whole statement, verifier included, as context in the server's log.
        IF to_regrole(quote_ident(role::text)) IS NOT NULL THEN
          RAISE EXCEPTION 'role "%" already exists', role USING ERRCODE = 'duplicate_object';
        END IF;
        EXECUTE format('CREATE ROLE %I LOGIN PASSWORD %L IN ROLE %I', role, verifier, kind);
        -- The web programs read in the user's own role. 15 knows no options; there pem_web is NOINHERIT itself.
        EXECUTE format('GRANT %I TO pem_web', role)
          || CASE WHEN current_setting('server_version_num')::int >= 160000 THEN ' WITH INHERIT FALSE, SET TRUE' ELSE '' END;
      END IF;
    ELSE
      RAISE EXCEPTION '"%" is no name for a role of kind %', role, kind USING ERRCODE = 'PE012';
  END CASE;
END $_$;

ALTER FUNCTION pem.make_role(kind text, role name, verifier text, valid_until timestamp with time zone) OWNER TO pem_registrar;

CREATE FUNCTION pem.create_team(team name) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT pem.make_role('team'::text, team, NULL::text, NULL::timestamp with time zone) AS make_role;
END;

ALTER FUNCTION pem.create_team(team name) OWNER TO pem_owner;

CREATE FUNCTION pem.create_token(display_name text, owner name, team name, ttl interval, verifier text) RETURNS TABLE(id bigint, role name, expires_at timestamp with time zone)
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
#variable_conflict use_column
DECLARE
  made_id bigint;
  made_role name;
  until timestamptz := now() + create_token.ttl;
BEGIN
  PERFORM pem.check_belonging(pem.invoker(), create_token.owner, create_token.team);
  IF create_token.ttl IS NULL OR create_token.ttl <= interval '0' OR create_token.ttl > interval '30 days' THEN
    RAISE EXCEPTION 'a token lives up to 30 days' USING ERRCODE = 'PE022';
  END IF;
  IF create_token.display_name IS NULL OR length(create_token.display_name) NOT BETWEEN 1 AND 200 THEN
    RAISE EXCEPTION 'an agent''s name has 1 to 200 characters' USING ERRCODE = 'PE022';
  END IF;
  made_id := nextval(pg_get_serial_sequence('pem.registration_token', 'id'));
  made_role := 'reg_' || made_id;
  PERFORM pem.make_role('registering', made_role, create_token.verifier, until);
  INSERT INTO pem.registration_token (id, role, created_by, expires_at, display_name, owner, team) OVERRIDING SYSTEM VALUE
  VALUES (made_id, made_role, pem.invoker(), until, create_token.display_name, create_token.owner, create_token.team);
  RETURN QUERY SELECT made_id, made_role, until;
END $$;

ALTER FUNCTION pem.create_token(display_name text, owner name, team name, ttl interval, verifier text) OWNER TO pem_owner;

CREATE FUNCTION pem.create_trace(target_id bigint, name text, options jsonb, schedule jsonb, duration_s integer, events boolean, events_per_s integer, continuous boolean, keep_files boolean) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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

ALTER FUNCTION pem.create_trace(target_id bigint, name text, options jsonb, schedule jsonb, duration_s integer, events boolean, events_per_s integer, continuous boolean, keep_files boolean) OWNER TO pem_owner;

CREATE FUNCTION pem.create_user(username name, level text, verifier text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF level IS NULL OR level NOT IN ('pem_user', 'pem_admin', 'pem_super_admin') THEN
    RAISE EXCEPTION 'a user is a pem_user, pem_admin or pem_super_admin' USING ERRCODE = 'PE022';
  END IF;
  PERFORM pem.make_role(level, username, verifier, NULL);
END $$;

ALTER FUNCTION pem.create_user(username name, level text, verifier text) OWNER TO pem_owner;

CREATE SEQUENCE pem.config_version_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER TABLE pem.config_version_seq OWNER TO pem_owner;

CREATE TABLE pem.agent (
    id integer NOT NULL,
    role name NOT NULL,
    display_name text NOT NULL,
    host_target_id bigint NOT NULL,
    version text,
    registered_at timestamp with time zone DEFAULT now() NOT NULL,
    active boolean DEFAULT true NOT NULL,
    revoked_at timestamp with time zone,
    cert_serial text,
    cert_not_after timestamp with time zone,
    quarantined_reason text,
    config_version bigint DEFAULT nextval('pem.config_version_seq'::regclass) NOT NULL,
    instance uuid
);

ALTER TABLE pem.agent OWNER TO pem_owner;

COMMENT ON COLUMN pem.agent.id IS 'Never used again, not even after a rollback.';

COMMENT ON COLUMN pem.agent.instance IS 'Of a web server that traces: the folder it keeps its state in. It has no role of PostgreSQL.';

CREATE TABLE pem.config (
    param text NOT NULL,
    value text NOT NULL
);

ALTER TABLE pem.config OWNER TO pem_owner;

COMMENT ON TABLE pem.config IS 'Settings of the whole installation; no secrets.';

CREATE TABLE pem.probe (
    name text NOT NULL,
    version integer NOT NULL,
    level text NOT NULL,
    collector text NOT NULL,
    definition jsonb NOT NULL,
    interval_ms integer NOT NULL,
    retention_days integer NOT NULL,
    enabled boolean NOT NULL,
    retired boolean DEFAULT false NOT NULL
);

ALTER TABLE pem.probe OWNER TO pem_owner;

COMMENT ON COLUMN pem.probe.retired IS 'No longer in the catalogue: not scheduled, its tables are kept.';

CREATE TABLE pem.probe_config (
    target_id bigint NOT NULL,
    probe text NOT NULL,
    enabled boolean,
    interval_ms integer,
    retention_days integer,
    CONSTRAINT probe_config_interval_ms_check CHECK (((interval_ms >= 1000) AND (interval_ms <= 604800000))),
    CONSTRAINT probe_config_retention_days_check CHECK (((retention_days >= 1) AND (retention_days <= 36500)))
);

ALTER TABLE pem.probe_config OWNER TO pem_owner;

CREATE TABLE pem.server (
    target_id bigint NOT NULL,
    host_target_id bigint,
    host text NOT NULL,
    port integer NOT NULL,
    database text NOT NULL,
    username text NOT NULL,
    sslmode text NOT NULL,
    server_version_num integer,
    system_identifier bigint,
    active boolean DEFAULT true NOT NULL,
    error text,
    managed boolean DEFAULT true NOT NULL,
    CONSTRAINT server_port_check CHECK (((port >= 1) AND (port <= 65535)))
);

ALTER TABLE pem.server OWNER TO pem_owner;

COMMENT ON COLUMN pem.server.error IS 'What the agent said when it last could not watch the server.';

COMMENT ON COLUMN pem.server.managed IS 'false: no agent watches it; users connect to it through a web server.';

CREATE TABLE pem.target (
    id bigint NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    owner name NOT NULL,
    team name,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    deleted_at timestamp with time zone,
    CONSTRAINT target_kind_check CHECK ((kind = ANY (ARRAY['host'::text, 'server'::text]))),
    CONSTRAINT target_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200)))
);

ALTER TABLE pem.target OWNER TO pem_owner;

COMMENT ON TABLE pem.target IS 'One key space of hosts and servers; who sees a row of it sees that target''s data.';

CREATE TABLE pem.trace (
    id bigint NOT NULL,
    target_id bigint NOT NULL,
    name text NOT NULL,
    token text DEFAULT "left"(replace((gen_random_uuid())::text, '-'::text, ''::text), 8) NOT NULL,
    options jsonb NOT NULL,
    schedule jsonb,
    duration_s integer,
    events boolean NOT NULL,
    events_per_s integer NOT NULL,
    continuous boolean NOT NULL,
    keep_files boolean NOT NULL,
    created_by name NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    request text DEFAULT 'none'::text NOT NULL,
    request_seq integer DEFAULT 0 NOT NULL,
    requested_by name,
    requested_at timestamp with time zone,
    deleted_by name,
    deleted_at timestamp with time zone,
    handled_seq integer DEFAULT 0 NOT NULL,
    state text DEFAULT 'new'::text NOT NULL,
    code text,
    error text,
    run text,
    next_at timestamp with time zone,
    reported_at timestamp with time zone,
    CONSTRAINT trace_duration_s_check CHECK (((duration_s >= 1) AND (duration_s <= 2678400))),
    CONSTRAINT trace_events_per_s_check CHECK (((events_per_s >= 1) AND (events_per_s <= 1000000))),
    CONSTRAINT trace_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT trace_request_check CHECK ((request = ANY (ARRAY['none'::text, 'start'::text, 'stop'::text])))
)
WITH (fillfactor='70');

ALTER TABLE pem.trace OWNER TO pem_owner;

COMMENT ON COLUMN pem.trace.token IS 'Part of the trace''s name on the server: no other PEM takes it for its own.';

COMMENT ON COLUMN pem.trace.duration_s IS 'Of each run; NULL: until somebody stops it.';

COMMENT ON COLUMN pem.trace.events_per_s IS 'Statements that travel one by one; what is beyond is in the aggregates alone.';

COMMENT ON COLUMN pem.trace.state IS 'new, idle, starting, running, stopping, blocked (code and error say by what).';

CREATE FUNCTION pem.definitions(agent pem.agent) RETURNS jsonb
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 WITH mine AS (
          SELECT t.id,
             t.kind,
             t.name
            FROM ((pem.target_agent ta
              JOIN pem.target t ON ((t.id = ta.target_id)))
              LEFT JOIN pem.server s ON ((s.target_id = t.id)))
           WHERE ((ta.agent_id = (definitions.agent).id) AND (ta.until IS NULL) AND (t.deleted_at IS NULL) AND COALESCE(s.active, true))
         ), schedule AS (
          SELECT m.id AS target_id,
             p.name AS probe,
             COALESCE(c.interval_ms, p.interval_ms) AS interval_ms
            FROM ((mine m
              JOIN pem.probe p ON (((NOT p.retired) AND
                 CASE p.level
                     WHEN 'host'::text THEN (m.kind = 'host'::text)
                     WHEN 'target'::text THEN true
                     WHEN 'pem'::text THEN ((m.id = (definitions.agent).host_target_id) AND (((definitions.agent).id)::text = ( SELECT config.value
                        FROM pem.config
                       WHERE (config.param = 'master_agent'::text))))
                     ELSE (m.kind = 'server'::text)
                 END)))
              LEFT JOIN pem.probe_config c ON (((c.target_id = m.id) AND (c.probe = p.name))))
           WHERE COALESCE(c.enabled, p.enabled)
         )
  SELECT jsonb_build_object('agentId', (agent).id, 'configVersion', (agent).config_version, 'hostTarget', (agent).host_target_id, 'probes', ( SELECT COALESCE(jsonb_object_agg(p.name, (p.definition - ARRAY['title'::text, 'description'::text, 'history'::text, 'intervalMs'::text, 'retentionDays'::text, 'partition'::text, 'needs'::text, 'enabled'::text])), '{}'::jsonb) AS "coalesce"
            FROM pem.probe p
           WHERE (p.name IN ( SELECT schedule.probe
                    FROM schedule))), 'servers', ( SELECT COALESCE(jsonb_agg(jsonb_build_object('targetId', s.target_id, 'name', m.name, 'host', s.host, 'port', s.port, 'database', s.database, 'user', s.username, 'sslmode', s.sslmode) ORDER BY s.target_id), '[]'::jsonb) AS "coalesce"
            FROM (mine m
              JOIN pem.server s ON ((s.target_id = m.id)))), 'schedule', ( SELECT COALESCE(jsonb_agg(jsonb_build_object('targetId', schedule.target_id, 'probe', schedule.probe, 'intervalMs', schedule.interval_ms) ORDER BY schedule.target_id, schedule.probe), '[]'::jsonb) AS "coalesce"
            FROM schedule), 'traces', ( SELECT COALESCE(jsonb_agg(jsonb_build_object('id', t.id, 'targetId', t.target_id, 'token', t.token, 'options', t.options, 'schedule', t.schedule, 'durationS', t.duration_s, 'events', t.events, 'eventsPerS', t.events_per_s, 'continuous', t.continuous, 'keepFiles', t.keep_files, 'request', t.request, 'requestSeq', t.request_seq, 'handledSeq', t.handled_seq) ORDER BY t.id), '[]'::jsonb) AS "coalesce"
            FROM (mine m
              JOIN pem.trace t ON (((t.target_id = m.id) AND (t.deleted_at IS NULL)))))) AS jsonb_build_object;
END;

ALTER FUNCTION pem.definitions(agent pem.agent) OWNER TO pem_owner;

CREATE FUNCTION pem.delete_trace(trace_id bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  it pem.trace := pem.seen_trace(delete_trace.trace_id);
BEGIN
  UPDATE pem.trace t SET deleted_at = now(), deleted_by = pem.invoker() WHERE t.id = it.id;
  PERFORM pem.bump_target(it.target_id);
END $$;

ALTER FUNCTION pem.delete_trace(trace_id bigint) OWNER TO pem_owner;

CREATE FUNCTION pem.disable_user(username name) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  -- Before and after: an open ALTER ROLE of the user's own would hold off the change.
  PERFORM pem.end_sessions(r.rolname) FROM pg_roles r
    WHERE r.rolname = username AND r.rolname !~ '^pem_' AND pg_has_role(r.oid, 'pem_user', 'MEMBER');
  PERFORM pem.set_login(username, false);
  DELETE FROM pem.web_session s WHERE s.username = disable_user.username;
  PERFORM pem.end_sessions(username);
END $$;

ALTER FUNCTION pem.disable_user(username name) OWNER TO pem_owner;

CREATE FUNCTION pem.drop_token_role(role name) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
BEGIN
  IF role ~ '^reg_[1-9][0-9]{0,17}$' THEN
    EXECUTE format('DROP ROLE IF EXISTS %I', role);
  END IF;
END $_$;

ALTER FUNCTION pem.drop_token_role(role name) OWNER TO pem_registrar;

CREATE FUNCTION pem.enable_user(username name) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  PERFORM pem.check_user(username);
  PERFORM pem.set_login(username, true);
END $$;

ALTER FUNCTION pem.enable_user(username name) OWNER TO pem_owner;

CREATE FUNCTION pem.end_sessions(role name) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  -- pg_stat_activity shows the same picture for a whole transaction.
  PERFORM pg_stat_clear_snapshot();
  PERFORM pg_terminate_backend(s.pid, 2000) FROM pg_stat_activity s
    WHERE s.usename = end_sessions.role AND s.pid <> pg_backend_pid();
END $$;

ALTER FUNCTION pem.end_sessions(role name) OWNER TO pem_owner;

CREATE FUNCTION pem.guard(relation regclass, via text, column_name name DEFAULT NULL::name) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  col name := coalesce(column_name, CASE via WHEN 'agent' THEN 'agent_id' ELSE 'target_id' END);
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', relation);
  EXECUTE format('CREATE POLICY visible ON %s FOR SELECT TO pem_user USING (%s)', relation, CASE via
    WHEN 'target' THEN format('%I IN (SELECT t.id FROM pem.target t)', col)
    WHEN 'latest' THEN format('NOT _gone AND %I IN (SELECT t.id FROM pem.target t)', col)
    WHEN 'agent' THEN format('%I IN (SELECT a.id FROM pem.agent a)', col)
  END);
END $$;

ALTER FUNCTION pem.guard(relation regclass, via text, column_name name) OWNER TO pem_owner;

CREATE FUNCTION pem.hold_server(target_id bigint, agent_id integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  it pem.server := pem.unmanaged_server(hold_server.target_id);
  bound int;
  other name;
BEGIN
  IF session_user <> 'pem_web' OR NOT EXISTS (SELECT FROM pem.agent a WHERE a.id = hold_server.agent_id AND a.instance IS NOT NULL) THEN
    RAISE EXCEPTION 'connections are made by web servers' USING ERRCODE = 'insufficient_privilege';
  END IF;
  PERFORM FROM pem.target t WHERE t.id = it.target_id FOR UPDATE;
  SELECT ta.agent_id INTO bound FROM pem.target_agent ta WHERE ta.target_id = it.target_id AND ta.until IS NULL;
  IF bound <> hold_server.agent_id THEN
    SELECT c.username INTO other FROM pem.server_connection c JOIN pem.agent_heartbeat h ON h.agent_id = c.agent_id
     WHERE c.target_id = it.target_id AND c.agent_id = bound AND h.at > now() - interval '10 s' LIMIT 1;
    IF FOUND THEN
      RAISE EXCEPTION '"%" is connected to it through another web server', other USING ERRCODE = 'PE027';
    END IF;
  END IF;
  IF bound IS DISTINCT FROM hold_server.agent_id THEN
    UPDATE pem.target_agent ta SET until = clock_timestamp() WHERE ta.target_id = it.target_id AND ta.until IS NULL;
    INSERT INTO pem.target_agent (target_id, agent_id, since) VALUES (it.target_id, hold_server.agent_id, clock_timestamp());
    DELETE FROM pem.server_connection c WHERE c.target_id = it.target_id AND c.agent_id <> hold_server.agent_id;
    PERFORM pem.bump_config(array_remove(ARRAY[bound, hold_server.agent_id], NULL));
  END IF;
  INSERT INTO pem.server_connection (target_id, username, agent_id) VALUES (it.target_id, pem.invoker(), hold_server.agent_id)
    ON CONFLICT ON CONSTRAINT server_connection_pkey DO NOTHING;
END $$;

ALTER FUNCTION pem.hold_server(target_id bigint, agent_id integer) OWNER TO pem_owner;

CREATE SEQUENCE pem.arrival_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER TABLE pem.arrival_seq OWNER TO pem_owner;

CREATE TABLE pem.quarantine (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    agent_id integer NOT NULL,
    boot uuid,
    seq bigint,
    block_index integer,
    target_id bigint,
    probe text,
    probe_version integer,
    code text NOT NULL,
    reason text NOT NULL,
    payload bytea,
    inbox_id bigint,
    state text DEFAULT 'held'::text NOT NULL,
    CONSTRAINT quarantine_state_check CHECK ((state = ANY (ARRAY['held'::text, 'retried'::text])))
);

ALTER TABLE pem.quarantine OWNER TO pem_owner;

CREATE TABLE pem.received (
    agent_id integer NOT NULL,
    boot uuid NOT NULL,
    arrival bigint DEFAULT nextval('pem.arrival_seq'::regclass) NOT NULL,
    ranges int8multirange DEFAULT '{}'::int8multirange NOT NULL,
    recent_seq bigint[] DEFAULT '{}'::bigint[] NOT NULL,
    recent_crc bigint[] DEFAULT '{}'::bigint[] NOT NULL,
    first_at timestamp with time zone DEFAULT now() NOT NULL,
    last_at timestamp with time zone DEFAULT now() NOT NULL,
    batches bigint DEFAULT 0 NOT NULL,
    rows bigint DEFAULT 0 NOT NULL,
    bytes bigint DEFAULT 0 NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pem.received OWNER TO pem_owner;

COMMENT ON TABLE pem.received IS 'The set of batches that are in history, per boot of a worker; arrival orders boots for latest.';

CREATE SEQUENCE pem_inbox.id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

ALTER TABLE pem_inbox.id_seq OWNER TO pem_owner;

CREATE UNLOGGED TABLE pem_inbox.slot_0 (
    id bigint DEFAULT nextval('pem_inbox.id_seq'::regclass) NOT NULL,
    arrived_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    agent_id integer NOT NULL,
    boot uuid NOT NULL,
    seq bigint NOT NULL,
    bytes integer NOT NULL,
    batch bytea NOT NULL
)
WITH (autovacuum_enabled=off);
ALTER TABLE ONLY pem_inbox.slot_0 ALTER COLUMN batch SET STORAGE EXTERNAL;

ALTER TABLE pem_inbox.slot_0 OWNER TO pem_owner;

CREATE UNLOGGED TABLE pem_inbox.slot_1 (
    id bigint DEFAULT nextval('pem_inbox.id_seq'::regclass) NOT NULL,
    arrived_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    agent_id integer NOT NULL,
    boot uuid NOT NULL,
    seq bigint NOT NULL,
    bytes integer NOT NULL,
    batch bytea NOT NULL
)
WITH (autovacuum_enabled=off);
ALTER TABLE ONLY pem_inbox.slot_1 ALTER COLUMN batch SET STORAGE EXTERNAL;

ALTER TABLE pem_inbox.slot_1 OWNER TO pem_owner;

CREATE UNLOGGED TABLE pem_inbox.slot_2 (
    id bigint DEFAULT nextval('pem_inbox.id_seq'::regclass) NOT NULL,
    arrived_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    agent_id integer NOT NULL,
    boot uuid NOT NULL,
    seq bigint NOT NULL,
    bytes integer NOT NULL,
    batch bytea NOT NULL
)
WITH (autovacuum_enabled=off);
ALTER TABLE ONLY pem_inbox.slot_2 ALTER COLUMN batch SET STORAGE EXTERNAL;

ALTER TABLE pem_inbox.slot_2 OWNER TO pem_owner;

CREATE UNLOGGED TABLE pem_inbox.slot_3 (
    id bigint DEFAULT nextval('pem_inbox.id_seq'::regclass) NOT NULL,
    arrived_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL,
    agent_id integer NOT NULL,
    boot uuid NOT NULL,
    seq bigint NOT NULL,
    bytes integer NOT NULL,
    batch bytea NOT NULL
)
WITH (autovacuum_enabled=off);
ALTER TABLE ONLY pem_inbox.slot_3 ALTER COLUMN batch SET STORAGE EXTERNAL;

ALTER TABLE pem_inbox.slot_3 OWNER TO pem_owner;

CREATE VIEW pem_inbox.slots WITH (security_invoker='true') AS
 SELECT 0 AS slot,
    slot_0.id,
    slot_0.arrived_at,
    slot_0.agent_id,
    slot_0.boot,
    slot_0.seq,
    slot_0.bytes,
    slot_0.batch
   FROM pem_inbox.slot_0
UNION ALL
 SELECT 1 AS slot,
    slot_1.id,
    slot_1.arrived_at,
    slot_1.agent_id,
    slot_1.boot,
    slot_1.seq,
    slot_1.bytes,
    slot_1.batch
   FROM pem_inbox.slot_1
UNION ALL
 SELECT 2 AS slot,
    slot_2.id,
    slot_2.arrived_at,
    slot_2.agent_id,
    slot_2.boot,
    slot_2.seq,
    slot_2.bytes,
    slot_2.batch
   FROM pem_inbox.slot_2
UNION ALL
 SELECT 3 AS slot,
    slot_3.id,
    slot_3.arrived_at,
    slot_3.agent_id,
    slot_3.boot,
    slot_3.seq,
    slot_3.bytes,
    slot_3.batch
   FROM pem_inbox.slot_3;

ALTER TABLE pem_inbox.slots OWNER TO pem_owner;

CREATE FUNCTION pem.inbox_totals() RETURNS TABLE(batches bigint, bytes bigint, oldest_at timestamp with time zone)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT count(*) AS count,
     COALESCE(sum(s.bytes), (0)::bigint) AS "coalesce",
     min(s.arrived_at) AS min
    FROM pem_inbox.slots s
   WHERE ((NOT (EXISTS ( SELECT
            FROM pem.received r
           WHERE ((r.agent_id = s.agent_id) AND (r.boot = s.boot) AND (r.ranges @> s.seq))))) AND (NOT (EXISTS ( SELECT
            FROM pem.quarantine q
           WHERE (q.inbox_id = s.id)))));
END;

ALTER FUNCTION pem.inbox_totals() OWNER TO pem_owner;

CREATE UNLOGGED TABLE pem.ingester (
    name text NOT NULL,
    pid integer NOT NULL,
    started_at timestamp with time zone NOT NULL,
    at timestamp with time zone NOT NULL,
    info jsonb NOT NULL
)
WITH (fillfactor='25');

ALTER TABLE pem.ingester OWNER TO pem_owner;

CREATE FUNCTION pem.ingest_self() RETURNS TABLE(name text, lag_ms double precision, inbox_batches bigint, inbox_bytes bigint, batches bigint, rows bigint, duplicates bigint, quarantined bigint, stray bigint, cycle_ms double precision)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT i.name,
     ((i.info ->> 'lag_ms'::text))::double precision AS float8,
     t.batches,
     t.bytes,
     ((i.info ->> 'batches'::text))::bigint AS int8,
     ((i.info ->> 'rows'::text))::bigint AS int8,
     ((i.info ->> 'duplicates'::text))::bigint AS int8,
     ((i.info ->> 'quarantined'::text))::bigint AS int8,
     ((i.info ->> 'stray'::text))::bigint AS int8,
     ((i.info ->> 'cycle_ms'::text))::double precision AS float8
    FROM pem.ingester i,
     pem.inbox_totals() t(batches, bytes, oldest_at);
END;

ALTER FUNCTION pem.ingest_self() OWNER TO pem_owner;

CREATE FUNCTION pem.invoker() RETURNS name
    LANGUAGE sql STABLE
    RETURN CASE current_setting('role'::text) WHEN 'none'::text THEN SESSION_USER ELSE (current_setting('role'::text))::name END;

ALTER FUNCTION pem.invoker() OWNER TO pem_owner;

CREATE FUNCTION pem.lock_agent(agent_id integer) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '1s'
    AS $$
BEGIN
  PERFORM FROM pem.agent a WHERE a.id = lock_agent.agent_id FOR NO KEY UPDATE;
EXCEPTION WHEN lock_not_available THEN
  PERFORM pem.end_sessions(a.role) FROM pem.agent a WHERE a.id = lock_agent.agent_id;
  PERFORM FROM pem.agent a WHERE a.id = lock_agent.agent_id FOR NO KEY UPDATE;
END $$;

ALTER FUNCTION pem.lock_agent(agent_id integer) OWNER TO pem_owner;

CREATE FUNCTION pem.moment(us text) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE
    RETURN CASE WHEN (((us)::double precision >= (0)::double precision) AND ((us)::double precision <= ('32503680000000000'::bigint)::double precision)) THEN to_timestamp(((us)::double precision / ('1000000'::numeric)::double precision)) ELSE NULL::timestamp with time zone END;

ALTER FUNCTION pem.moment(us text) OWNER TO pem_owner;

CREATE FUNCTION pem.move_server(target_id bigint, agent_id integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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

ALTER FUNCTION pem.move_server(target_id bigint, agent_id integer) OWNER TO pem_owner;

CREATE FUNCTION pem.note_binding() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  is_tracer boolean := EXISTS (SELECT FROM pem.agent a WHERE a.id = NEW.agent_id AND a.instance IS NOT NULL);
BEGIN
  IF is_tracer AND EXISTS (SELECT FROM pem.server s WHERE s.target_id = NEW.target_id AND s.managed) THEN
    RAISE EXCEPTION 'agent % is a web server: it watches nothing by itself', NEW.agent_id USING ERRCODE = 'PE022';
  END IF;
  IF NOT is_tracer THEN
    UPDATE pem.server s SET managed = true WHERE s.target_id = NEW.target_id AND NOT s.managed;
    DELETE FROM pem.server_connection c WHERE c.target_id = NEW.target_id;
  END IF;
  RETURN NEW;
END $$;

ALTER FUNCTION pem.note_binding() OWNER TO pem_owner;

CREATE FUNCTION pem.note_certificate() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF OLD.certificate IS NOT NULL THEN
    RAISE EXCEPTION 'request % is answered', OLD.id USING ERRCODE = 'PE022';
  END IF;
  PERFORM pem.lock_agent(NEW.agent_id);
  UPDATE pem.agent SET cert_serial = NEW.serial, cert_not_after = NEW.not_after WHERE id = NEW.agent_id;
  RETURN NEW;
END $$;

ALTER FUNCTION pem.note_certificate() OWNER TO pem_owner;

CREATE FUNCTION pem.note_traces(agent_id integer, traces jsonb) RETURNS void
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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
      code = left(x ->> 'code', 63), error = left(x ->> 'error', 1000), run = coalesce(left(x ->> 'run', 40), t.run),
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

ALTER FUNCTION pem.note_traces(agent_id integer, traces jsonb) OWNER TO pem_owner;

CREATE FUNCTION pem.quarantine_agent(agent_id integer, reason text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  PERFORM pem.lock_agent(quarantine_agent.agent_id);
  UPDATE pem.agent a SET quarantined_reason = left(reason, 500)
   WHERE a.id = quarantine_agent.agent_id AND a.quarantined_reason IS NULL;
END $$;

ALTER FUNCTION pem.quarantine_agent(agent_id integer, reason text) OWNER TO pem_owner;

CREATE FUNCTION pem.sees(who name, owner name, team name) RETURNS boolean
    LANGUAGE sql STABLE PARALLEL SAFE
    RETURN ((owner = who) OR pg_has_role(who, 'pem_super_admin'::name, 'USAGE'::text) OR COALESCE(pg_has_role(who, (to_regrole(quote_ident((team)::text)))::oid, 'USAGE'::text), false));

ALTER FUNCTION pem.sees(who name, owner name, team name) OWNER TO pem_owner;

CREATE FUNCTION pem.quarantine_totals() RETURNS TABLE(agent_id integer, code text, count bigint, last_at timestamp with time zone)
    LANGUAGE sql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT q.agent_id,
     q.code,
     count(*) AS count,
     max(q.at) AS max
    FROM ((pem.quarantine q
      JOIN pem.agent a ON ((a.id = q.agent_id)))
      JOIN pem.target t ON ((t.id = a.host_target_id)))
   WHERE pem.sees(pem.invoker(), t.owner, t.team)
   GROUP BY q.agent_id, q.code
   ORDER BY q.agent_id, q.code;
END;

ALTER FUNCTION pem.quarantine_totals() OWNER TO pem_owner;

CREATE FUNCTION pem.refuse_tracer_command() RETURNS trigger
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF EXISTS (SELECT FROM pem.agent a WHERE a.id = NEW.agent_id AND a.instance IS NOT NULL) THEN
    RAISE EXCEPTION 'this needs an agent: the server has none, it is traced by a web server' USING ERRCODE = 'PE022';
  END IF;
  RETURN NEW;
END $$;

ALTER FUNCTION pem.refuse_tracer_command() OWNER TO pem_owner;

CREATE FUNCTION pem.register(csr text, facts jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  token pem.registration_token;
  new_id int;
  new_role name;
  host_target bigint;
  new_csr bigint;
  hostname text := left(coalesce(nullif(facts ->> 'hostname', ''), 'unknown'), 200);
BEGIN
  SELECT * INTO token FROM pem.registration_token t WHERE t.role = session_user FOR UPDATE;
  IF NOT FOUND OR token.used_at IS NOT NULL OR token.expires_at <= clock_timestamp() THEN
    RAISE EXCEPTION 'the token is used or expired; make a new one' USING ERRCODE = 'PE023';
  END IF;
  IF csr IS NULL OR length(csr) > 16384 OR csr !~ '^\s*-----BEGIN CERTIFICATE REQUEST-----' THEN
    RAISE EXCEPTION 'not a certificate request in PEM form' USING ERRCODE = 'PE022';
  END IF;
  INSERT INTO pem.target (kind, name, owner, team) VALUES ('host', token.display_name, token.owner, token.team)
    RETURNING id INTO host_target;
  INSERT INTO pem.host VALUES (host_target, hostname, left(facts ->> 'os', 200), left(facts ->> 'kernel', 200),
    (facts ->> 'cpus')::int, (facts ->> 'memoryBytes')::bigint, pem.moment(facts ->> 'bootedAtUs'));
  -- Last of what can fail on the caller's words: an id is spent even when the transaction is rolled back.
  LOOP
    new_id := nextval(pg_get_serial_sequence('pem.agent', 'id'));
    new_role := 'agent' || new_id;
    EXIT WHEN to_regrole(new_role::text) IS NULL;
  END LOOP;
  PERFORM pem.make_role('agent', new_role, NULL, NULL);
  INSERT INTO pem.agent (id, role, display_name, host_target_id, version)
    VALUES (new_id, new_role, token.display_name, host_target, left(facts ->> 'version', 50));
  INSERT INTO pem.target_agent (target_id, agent_id) VALUES (host_target, new_id);
  INSERT INTO pem.csr (agent_id, csr) VALUES (new_id, register.csr) RETURNING id INTO new_csr;
  INSERT INTO pem.config VALUES ('master_agent', new_id) ON CONFLICT DO NOTHING;
  UPDATE pem.registration_token t SET used_at = now(), agent_id = new_id WHERE t.id = token.id;
  RETURN jsonb_build_object('agentId', new_id, 'role', new_role, 'csrId', new_csr, 'hostTarget', host_target);
END $$;

ALTER FUNCTION pem.register(csr text, facts jsonb) OWNER TO pem_owner;

CREATE FUNCTION pem.registered_certificate(csr_id bigint) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  answer pem.csr;
BEGIN
  SELECT c.* INTO answer FROM pem.csr c JOIN pem.registration_token t ON t.agent_id = c.agent_id
   WHERE c.id = registered_certificate.csr_id AND t.role = session_user;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'no such request of yours' USING ERRCODE = 'PE021';
  END IF;
  IF answer.refused_reason IS NOT NULL THEN
    RAISE EXCEPTION 'the certificate was refused: %', answer.refused_reason USING ERRCODE = 'PE024';
  END IF;
  IF answer.certificate IS NOT NULL THEN
    UPDATE pem.csr c SET delivered_at = now() WHERE c.id = registered_certificate.csr_id;
    PERFORM pem.set_login(session_user, false);
  END IF;
  RETURN answer.certificate;
END $$;

ALTER FUNCTION pem.registered_certificate(csr_id bigint) OWNER TO pem_owner;

CREATE FUNCTION pem.release_agent(agent_id integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  it pem.agent := pem.seen_agent(release_agent.agent_id);
BEGIN
  PERFORM pem.lock_agent(it.id);
  UPDATE pem.agent a SET quarantined_reason = NULL WHERE a.id = it.id;
  -- Whichever copy was kept may go on, also the older one.
  DELETE FROM pem.agent_heartbeat h WHERE h.agent_id = it.id;
END $$;

ALTER FUNCTION pem.release_agent(agent_id integer) OWNER TO pem_owner;

CREATE TABLE pem.server_connection (
    target_id bigint NOT NULL,
    username name NOT NULL,
    agent_id integer NOT NULL,
    since timestamp with time zone DEFAULT clock_timestamp() NOT NULL
);

ALTER TABLE pem.server_connection OWNER TO pem_owner;

COMMENT ON TABLE pem.server_connection IS 'Who is connected to servers without an agent, and through which web server.';

CREATE FUNCTION pem.release_server(agent_id integer, target_id bigint, username name) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 DELETE FROM pem.server_connection AS c
   WHERE ((c.agent_id = release_server.agent_id) AND (c.target_id = release_server.target_id) AND (c.username = release_server.username));
END;

ALTER FUNCTION pem.release_server(agent_id integer, target_id bigint, username name) OWNER TO pem_owner;

CREATE FUNCTION pem.remove_agent(agent_id integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  it pem.agent := pem.seen_agent(remove_agent.agent_id);
  watched int;
BEGIN
  IF it.id::text = (SELECT c.value FROM pem.config c WHERE c.param = 'master_agent') THEN
    RAISE EXCEPTION 'agent % looks after PEM itself and cannot be removed', it.id USING ERRCODE = 'PE022';
  END IF;
  IF it.instance IS NOT NULL THEN
    RAISE EXCEPTION 'agent % is a web server: it traces for as long as that runs', it.id USING ERRCODE = 'PE022';
  END IF;
  SELECT count(*) INTO watched FROM pem.target_agent ta JOIN pem.target t ON t.id = ta.target_id
   WHERE ta.agent_id = it.id AND ta.until IS NULL AND t.kind = 'server' AND t.deleted_at IS NULL;
  IF watched > 0 THEN
    RAISE EXCEPTION 'agent % watches % servers; remove them, or move them to another agent, first', it.id, watched
      USING ERRCODE = 'PE022';
  END IF;
  PERFORM pem.revoke_agent(it.id);
  UPDATE pem.target_agent ta SET until = now() WHERE ta.agent_id = it.id AND ta.until IS NULL;
  UPDATE pem.target t SET deleted_at = now() WHERE t.id = it.host_target_id;
END $$;

ALTER FUNCTION pem.remove_agent(agent_id integer) OWNER TO pem_owner;

CREATE FUNCTION pem.remove_server(target_id bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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

ALTER FUNCTION pem.remove_server(target_id bigint) OWNER TO pem_owner;

CREATE FUNCTION pem.renew_certificate(csr text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  me pem.agent;
  new_csr bigint;
BEGIN
  SELECT * INTO me FROM pem.agent a WHERE a.role = session_user FOR UPDATE;
  IF NOT FOUND OR NOT me.active OR me.quarantined_reason IS NOT NULL THEN
    RAISE EXCEPTION 'agent "%" is not active or quarantined', session_user USING ERRCODE = 'PE003';
  END IF;
  IF renew_certificate.csr IS NULL OR length(renew_certificate.csr) > 16384 OR renew_certificate.csr !~ '^\s*-----BEGIN CERTIFICATE REQUEST-----' THEN
    RAISE EXCEPTION 'not a certificate request in PEM form' USING ERRCODE = 'PE022';
  END IF;
  IF (SELECT count(*) FROM pem.csr c WHERE c.agent_id = me.id AND c.requested_at > now() - interval '1 day') >= 20 THEN
    RAISE EXCEPTION 'too many certificate requests today' USING ERRCODE = 'PE025';
  END IF;
  UPDATE pem.csr c SET refused_reason = 'replaced: a newer request came'
   WHERE c.agent_id = me.id AND c.certificate IS NULL AND c.refused_reason IS NULL;
  INSERT INTO pem.csr (agent_id, csr) VALUES (me.id, renew_certificate.csr) RETURNING id INTO new_csr;
  RETURN new_csr;
END $$;

ALTER FUNCTION pem.renew_certificate(csr text) OWNER TO pem_owner;

CREATE FUNCTION pem.reporter() RETURNS name
    LANGUAGE sql STABLE
    RETURN CASE WHEN (SESSION_USER <> 'pem_web'::name) THEN SESSION_USER WHEN (current_setting('pem.tracer'::text, true) ~ '^tracer[0-9]+$'::text) THEN (current_setting('pem.tracer'::text, true))::name ELSE NULL::name END;

ALTER FUNCTION pem.reporter() OWNER TO pem_owner;

CREATE FUNCTION pem.request_advice(trace_id bigint, request jsonb) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  it pem.trace := pem.seen_trace(request_advice.trace_id);
  agent int := (SELECT ta.agent_id FROM pem.target_agent ta WHERE ta.target_id = it.target_id AND ta.until IS NULL);
  asked jsonb;
  made bigint;
BEGIN
  IF agent IS NULL THEN
    RAISE EXCEPTION 'no agent watches the server of trace %', it.id USING ERRCODE = 'PE022';
  END IF;
  IF jsonb_typeof(request) IS DISTINCT FROM 'object' OR jsonb_typeof(request -> 'statements') IS DISTINCT FROM 'array' THEN
    RAISE EXCEPTION 'a request has statements' USING ERRCODE = 'PE022';
  END IF;
  SELECT c.id INTO made FROM pem.command c
   WHERE c.agent_id = agent AND c.done_at IS NULL AND c.kind = 'advise_indexes' AND c.created_at > now() - interval '15 min'
     AND (c.payload ->> 'traceId')::bigint = it.id
   ORDER BY c.id DESC LIMIT 1;
  IF FOUND THEN
    RETURN made;
  END IF;
  asked := request || jsonb_build_object('token', gen_random_uuid(), 'traceId', it.id, 'targetId', it.target_id);
  IF pg_column_size(asked) > 131072 OR octet_length(asked::text) > 131072
     OR (SELECT count(*) FROM pem.command c WHERE c.agent_id = agent AND c.done_at IS NULL) >= 100 THEN
    RAISE EXCEPTION 'a request has at most 128 KiB, and at most 100 commands wait for an agent' USING ERRCODE = 'PE022';
  END IF;
  INSERT INTO pem.command (agent_id, kind, payload, created_by)
    VALUES (agent, 'advise_indexes', asked, pem.invoker()) RETURNING id INTO made;
  RETURN made;
END $$;

ALTER FUNCTION pem.request_advice(trace_id bigint, request jsonb) OWNER TO pem_owner;

CREATE FUNCTION pem.request_trace(trace_id bigint, request text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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

ALTER FUNCTION pem.request_trace(trace_id bigint, request text) OWNER TO pem_owner;

CREATE FUNCTION pem.revoke_agent(agent_id integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  it pem.agent := pem.seen_agent(revoke_agent.agent_id);
BEGIN
  -- Its sessions first: it must not hold off its own end by what it has locked (its row here, its role by ALTER ROLE).
  PERFORM pem.end_sessions(it.role);
  PERFORM pem.set_login(it.role, false);
  PERFORM pem.lock_agent(it.id);
  UPDATE pem.agent a SET active = false, revoked_at = coalesce(revoked_at, now()) WHERE a.id = it.id;
  -- One that logs in at this moment is refused by the inbox and by sync (PE003) and ended by the next rotation.
  PERFORM pem.end_sessions(it.role);
END $$;

ALTER FUNCTION pem.revoke_agent(agent_id integer) OWNER TO pem_owner;

CREATE FUNCTION pem.seen_agent(agent_id integer) RETURNS pem.agent
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  found_agent pem.agent;
BEGIN
  SELECT a.* INTO found_agent FROM pem.agent a JOIN pem.target t ON t.id = a.host_target_id
   WHERE a.id = seen_agent.agent_id AND (t.deleted_at IS NULL OR a.instance IS NOT NULL)
     AND pem.sees(pem.invoker(), t.owner, t.team);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no agent %', seen_agent.agent_id USING ERRCODE = 'PE021';
  END IF;
  RETURN found_agent;
END $$;

ALTER FUNCTION pem.seen_agent(agent_id integer) OWNER TO pem_owner;

CREATE FUNCTION pem.seen_target(target_id bigint) RETURNS pem.target
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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

ALTER FUNCTION pem.seen_target(target_id bigint) OWNER TO pem_owner;

CREATE FUNCTION pem.seen_trace(trace_id bigint) RETURNS pem.trace
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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

ALTER FUNCTION pem.seen_trace(trace_id bigint) OWNER TO pem_owner;

CREATE FUNCTION pem.send_command(agent_id integer, kind text, payload jsonb) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  agent pem.agent := pem.seen_agent(send_command.agent_id);
  made bigint;
BEGIN
  IF kind = 'advise_indexes' THEN
    RAISE EXCEPTION 'advice is asked for by pem.request_advice' USING ERRCODE = 'PE022';
  END IF;
  IF kind IS NULL OR length(kind) NOT BETWEEN 1 AND 63 OR pg_column_size(payload) > 65536 OR octet_length(payload::text) > 65536
     OR (SELECT count(*) FROM pem.command c WHERE c.agent_id = agent.id AND c.done_at IS NULL) >= 100 THEN
    RAISE EXCEPTION 'a command has a kind and at most 64 KiB, and at most 100 wait for an agent' USING ERRCODE = 'PE022';
  END IF;
  INSERT INTO pem.command (agent_id, kind, payload, created_by)
    VALUES (agent.id, send_command.kind, coalesce(send_command.payload, '{}'), pem.invoker()) RETURNING id INTO made;
  RETURN made;
END $$;

ALTER FUNCTION pem.send_command(agent_id integer, kind text, payload jsonb) OWNER TO pem_owner;

CREATE FUNCTION pem.set_belonging(target_id bigint, owner name, team name) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  it pem.target := pem.seen_target(set_belonging.target_id);
BEGIN
  IF it.owner <> pem.invoker() AND NOT pg_has_role(pem.invoker(), 'pem_super_admin', 'USAGE') THEN
    RAISE EXCEPTION 'target % belongs to "%"', it.id, it.owner USING ERRCODE = 'PE021';
  END IF;
  PERFORM pem.check_belonging(pem.invoker(), owner, team);
  UPDATE pem.target t SET owner = set_belonging.owner, team = set_belonging.team WHERE t.id = it.id;
END $$;

ALTER FUNCTION pem.set_belonging(target_id bigint, owner name, team name) OWNER TO pem_owner;

CREATE FUNCTION pem.set_login(role name, allowed boolean) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
     WHERE r.rolname = role AND NOT r.rolsuper AND r.rolname !~ '^pem_'
       AND g.rolname IN ('pem_agent', 'pem_registering', 'pem_user', 'pem_admin', 'pem_super_admin')) THEN
    RAISE EXCEPTION '"%" is no agent, token or user of PEM', role USING ERRCODE = 'PE012';
  END IF;
  EXECUTE format('ALTER ROLE %I %s', role, CASE WHEN allowed THEN 'LOGIN' ELSE 'NOLOGIN' END);
END $$;

ALTER FUNCTION pem.set_login(role name, allowed boolean) OWNER TO pem_registrar;

CREATE FUNCTION pem.set_member(team name, member name, joined boolean) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_auth_members m JOIN pg_roles t ON t.oid = m.member
     WHERE m.roleid = 'pem_team'::regrole AND t.rolname = set_member.team AND NOT t.rolcanlogin) THEN
    RAISE EXCEPTION '"%" is no team', team USING ERRCODE = 'PE012';
  END IF;
  IF NOT EXISTS (
    SELECT FROM pg_auth_members m JOIN pg_roles u ON u.oid = m.member JOIN pg_roles g ON g.oid = m.roleid
     WHERE u.rolname = set_member.member AND u.rolname !~ '^pem_'
       AND g.rolname IN ('pem_user', 'pem_admin', 'pem_super_admin')) THEN
    RAISE EXCEPTION '"%" is no user of PEM', member USING ERRCODE = 'PE012';
  END IF;
  IF joined THEN
    EXECUTE format('GRANT %I TO %I', team, member);
  ELSE
    EXECUTE format('REVOKE %I FROM %I', team, member);
  END IF;
END $$;

ALTER FUNCTION pem.set_member(team name, member name, joined boolean) OWNER TO pem_registrar;

CREATE FUNCTION pem.set_password(username name, verifier text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
BEGIN
  PERFORM pem.check_user(username);
  PERFORM pem.set_verifier(username, verifier);
  DELETE FROM pem.web_session s WHERE s.username = set_password.username;
END $$;

ALTER FUNCTION pem.set_password(username name, verifier text) OWNER TO pem_owner;

CREATE FUNCTION pem.set_probe_config(target_id bigint, probe text, enabled boolean, interval_ms integer, retention_days integer) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
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

ALTER FUNCTION pem.set_probe_config(target_id bigint, probe text, enabled boolean, interval_ms integer, retention_days integer) OWNER TO pem_owner;

CREATE FUNCTION pem.set_team(username name, team name, joined boolean) RETURNS void
    LANGUAGE sql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT pem.set_member(team, username, joined) AS set_member;
END;

ALTER FUNCTION pem.set_team(username name, team name, joined boolean) OWNER TO pem_owner;

CREATE FUNCTION pem.set_verifier(role name, verifier text) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
BEGIN
  IF verifier IS NULL OR verifier !~ '^SCRAM-SHA-256\$[0-9]{4,7}:[A-Za-z0-9+/=]{20,100}\$[A-Za-z0-9+/=]{44}:[A-Za-z0-9+/=]{44}$' THEN
    RAISE EXCEPTION 'not a SCRAM-SHA-256 verifier' USING ERRCODE = 'PE011';
  END IF;
  IF NOT EXISTS (
    SELECT FROM pg_auth_members m JOIN pg_roles u ON u.oid = m.member JOIN pg_roles g ON g.oid = m.roleid
     WHERE u.rolname = set_verifier.role AND NOT u.rolsuper AND u.rolname !~ '^pem_'
       AND g.rolname IN ('pem_user', 'pem_admin', 'pem_super_admin')) THEN
    RAISE EXCEPTION '"%" is no user of PEM', role USING ERRCODE = 'PE012';
  END IF;
  EXECUTE format('ALTER ROLE %I PASSWORD %L', role, verifier);
END $_$;

ALTER FUNCTION pem.set_verifier(role name, verifier text) OWNER TO pem_registrar;

CREATE FUNCTION pem.sync(request jsonb) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $_$
DECLARE
  most_boots CONSTANT int := 4096;
  most_boots_a_day CONSTANT bigint := 10000;
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
  SELECT * INTO me FROM pem.agent a WHERE a.role = pem.reporter();
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
    IF (SELECT count(*) FROM pem.received r WHERE r.agent_id = me.id AND r.first_at > asked_at - interval '1 day') + cardinality(boots) - known > most_boots_a_day THEN
      RAISE EXCEPTION 'agent "%" has announced too many boots today', session_user USING ERRCODE = 'PE004';
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
END $_$;

ALTER FUNCTION pem.sync(request jsonb) OWNER TO pem_owner;

CREATE FUNCTION pem.unmanaged_server(target_id bigint) RETURNS pem.server
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  it pem.target := pem.seen_target(unmanaged_server.target_id);
  server pem.server;
BEGIN
  SELECT * INTO server FROM pem.server s WHERE s.target_id = it.id AND NOT s.managed;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'an agent watches target %, or it is no server', it.id USING ERRCODE = 'PE022';
  END IF;
  RETURN server;
END $$;

ALTER FUNCTION pem.unmanaged_server(target_id bigint) OWNER TO pem_owner;

CREATE FUNCTION pem.visible_targets() RETURNS SETOF bigint
    LANGUAGE sql STABLE
    SET search_path TO 'pg_catalog', 'pg_temp'
    BEGIN ATOMIC
 SELECT target.id
    FROM pem.target;
END;

ALTER FUNCTION pem.visible_targets() OWNER TO pem_owner;

CREATE FUNCTION pem_inbox.accept() RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE
  smallest_bytes CONSTANT int := 72;
  largest_bytes CONSTANT int := 4194304;
  backlog_bytes CONSTANT bigint := 8388608;
  backlog_rows CONSTANT bigint := 4096;
  -- Finished rows are no backlog, but they lie on the disk until the next rotation: repeats must not fill it.
  lying_bytes CONSTANT bigint := 134217728;
  lying_rows CONSTANT bigint := 65536;
  size int := octet_length(NEW.batch);
  me pem.agent;
  waiting_bytes bigint;
  waiting_rows bigint;
  is_lying boolean;
  head bytea;
  in_boot uuid;
  in_seq bigint;
BEGIN
  IF size IS NULL OR size < smallest_bytes OR size > largest_bytes THEN
    RAISE EXCEPTION 'a batch has % to % bytes, this one %', smallest_bytes, largest_bytes, coalesce(size, 0)
      USING ERRCODE = 'PE002';
  END IF;
  SELECT * INTO me FROM pem.agent WHERE role = pem.reporter();
  IF NOT FOUND OR NOT me.active OR me.quarantined_reason IS NOT NULL THEN
    RAISE EXCEPTION 'agent "%" is %', session_user,
      CASE WHEN me.quarantined_reason IS NULL THEN 'not active' ELSE 'quarantined: ' || me.quarantined_reason END
      USING ERRCODE = 'PE003';
  END IF;

  -- First everything that lies in the slots, and only when that is too much the part that is not finished.
  SELECT coalesce(sum(s.bytes), 0), count(*) INTO waiting_bytes, waiting_rows
    FROM pem_inbox.slots s WHERE s.agent_id = me.id;
  IF waiting_bytes + size > backlog_bytes OR waiting_rows >= backlog_rows THEN
    is_lying := waiting_bytes + size > lying_bytes OR waiting_rows >= lying_rows;
    SELECT coalesce(sum(s.bytes), 0), count(*) INTO waiting_bytes, waiting_rows
      FROM pem_inbox.slots s
     WHERE s.agent_id = me.id
       AND NOT EXISTS (SELECT FROM pem.received r WHERE r.agent_id = s.agent_id AND r.boot = s.boot AND r.ranges @> s.seq)
       AND NOT EXISTS (SELECT FROM pem.quarantine q WHERE q.inbox_id = s.id);
    IF is_lying OR waiting_bytes + size > backlog_bytes OR waiting_rows >= backlog_rows THEN
      RAISE EXCEPTION 'backlog of agent "%" is full (% bytes in % batches); send again later',
        session_user, waiting_bytes, waiting_rows USING ERRCODE = 'PE001';
    END IF;
  END IF;

  head := substr(NEW.batch, 1, 64);
  in_boot := encode(substr(head, 25, 16), 'hex')::uuid;
  -- Little-endian; the parentheses matter: | and << bind alike.
  in_seq := get_byte(head, 40)::bigint | (get_byte(head, 41)::bigint << 8) | (get_byte(head, 42)::bigint << 16)
    | (get_byte(head, 43)::bigint << 24) | (get_byte(head, 44)::bigint << 32) | (get_byte(head, 45)::bigint << 40)
    | (get_byte(head, 46)::bigint << 48) | (get_byte(head, 47)::bigint << 56);
  CASE (SELECT s.active FROM pem_inbox.state s)
    WHEN 0 THEN INSERT INTO pem_inbox.slot_0 (agent_id, boot, seq, bytes, batch) VALUES (me.id, in_boot, in_seq, size, NEW.batch);
    WHEN 1 THEN INSERT INTO pem_inbox.slot_1 (agent_id, boot, seq, bytes, batch) VALUES (me.id, in_boot, in_seq, size, NEW.batch);
    WHEN 2 THEN INSERT INTO pem_inbox.slot_2 (agent_id, boot, seq, bytes, batch) VALUES (me.id, in_boot, in_seq, size, NEW.batch);
    ELSE INSERT INTO pem_inbox.slot_3 (agent_id, boot, seq, bytes, batch) VALUES (me.id, in_boot, in_seq, size, NEW.batch);
  END CASE;
  RETURN NEW;
END $$;

ALTER FUNCTION pem_inbox.accept() OWNER TO pem_owner;

CREATE FUNCTION pem_inbox.rotate(largest_bytes bigint DEFAULT 33554432, oldest interval DEFAULT '00:00:02'::interval, hostage interval DEFAULT '00:00:30'::interval) RETURNS jsonb
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path TO 'pg_catalog', 'pg_temp'
    SET lock_timeout TO '50ms'
    AS $$
DECLARE
  state pem_inbox.state;
  done jsonb := '{}';
  slot int;
  empty_slot int;
  held boolean;
BEGIN
  IF current_setting('transaction_isolation') <> 'read committed' THEN
    RAISE EXCEPTION 'pem_inbox.rotate needs READ COMMITTED: it must see what others commit while it waits'
      USING ERRCODE = 'PE013';
  END IF;
  SELECT * INTO state FROM pem_inbox.state FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN
    RETURN '{"busy": true}';
  END IF;

  FOR n IN 1..3 LOOP
    slot := (state.active + n) % 4;
    IF pg_relation_size(format('pem_inbox.slot_%s', slot)::regclass) = 0 THEN
      empty_slot := coalesce(empty_slot, slot);
    ELSIF NOT done ? 'emptied' AND NOT pem_inbox.unfinished(slot) THEN
      BEGIN
        EXECUTE format('LOCK TABLE pem_inbox.slot_%s IN ACCESS EXCLUSIVE MODE', slot);
        IF NOT pem_inbox.unfinished(slot) THEN
          EXECUTE format('TRUNCATE pem_inbox.slot_%s', slot);
          done := done || jsonb_build_object('emptied', slot);
          empty_slot := coalesce(empty_slot, slot);
        END IF;
      EXCEPTION WHEN lock_not_available THEN
        done := done || jsonb_build_object('locked', slot);
      END;
    END IF;
  END LOOP;

  IF pg_relation_size(format('pem_inbox.slot_%s', state.active)::regclass) > 0
     AND (state.switched_at < clock_timestamp() - oldest
          OR pg_table_size(format('pem_inbox.slot_%s', state.active)::regclass) >= largest_bytes) THEN
    IF empty_slot IS NULL THEN
      done := done || '{"full": true}';
    ELSE
      UPDATE pem_inbox.state SET active = empty_slot, switched_at = clock_timestamp();
      done := done || jsonb_build_object('active', empty_slot);
    END IF;
  END IF;

  -- A session of an agent that sits in a transaction keeps its slot from being emptied; a revoked one has no business.
  IF done ?| ARRAY['locked', 'active', 'full'] THEN
    SELECT count(pg_terminate_backend(s.pid)) > 0 INTO held
      FROM pg_stat_activity s JOIN pem.agent a ON a.role = s.usename
     WHERE s.xact_start < clock_timestamp() - hostage OR NOT a.active;
    IF held THEN
      done := done || '{"ended": true}';
    END IF;
  END IF;
  RETURN done;
END $$;

ALTER FUNCTION pem_inbox.rotate(largest_bytes bigint, oldest interval, hostage interval) OWNER TO pem_owner;

CREATE FUNCTION pem_inbox.unfinished(slot integer) RETURNS boolean
    LANGUAGE plpgsql
    SET search_path TO 'pg_catalog', 'pg_temp'
    AS $$
DECLARE answer boolean;
BEGIN
  EXECUTE format('SELECT EXISTS (SELECT FROM pem_inbox.slot_%s s
     WHERE NOT EXISTS (SELECT FROM pem.received r WHERE r.agent_id = s.agent_id AND r.boot = s.boot AND r.ranges @> s.seq)
       AND NOT EXISTS (SELECT FROM pem.quarantine q WHERE q.inbox_id = s.id))', slot) INTO answer;
  RETURN answer;
END $$;

ALTER FUNCTION pem_inbox.unfinished(slot integer) OWNER TO pem_owner;

CREATE UNLOGGED TABLE pem.agent_heartbeat (
    agent_id integer NOT NULL,
    at timestamp with time zone NOT NULL,
    boot uuid NOT NULL,
    arrival bigint NOT NULL,
    started_at timestamp with time zone NOT NULL,
    info jsonb NOT NULL,
    servers jsonb
)
WITH (fillfactor='25', autovacuum_vacuum_threshold='5000');

ALTER TABLE pem.agent_heartbeat OWNER TO pem_owner;

ALTER TABLE pem.agent ALTER COLUMN id ADD GENERATED BY DEFAULT AS IDENTITY (
    SEQUENCE NAME pem.agent_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE pem.host (
    target_id bigint NOT NULL,
    hostname text NOT NULL,
    os text,
    kernel text,
    cpus integer,
    memory_bytes bigint,
    booted_at timestamp with time zone
);

ALTER TABLE pem.host OWNER TO pem_owner;

CREATE VIEW pem.agent_status WITH (security_invoker='true') AS
 SELECT a.id AS agent_id,
    a.display_name,
    a.host_target_id AS target_id,
        CASE
            WHEN (h.at IS NULL) THEN 'unknown'::text
            WHEN ((NOT a.active) OR (h.at < (now() - '00:00:10'::interval))) THEN 'down'::text
            ELSE 'up'::text
        END AS status,
    h.at AS last_seen,
    h.boot,
    h.started_at,
    a.version,
    a.active,
    a.quarantined_reason,
    a.registered_at,
    a.cert_not_after,
    t.owner,
    t.team,
    o.hostname,
    o.os,
    o.kernel,
    o.cpus,
    o.memory_bytes,
    o.booted_at,
    COALESCE(h.info, '{}'::jsonb) AS info
   FROM (((pem.agent a
     JOIN pem.target t ON (((t.id = a.host_target_id) AND ((t.deleted_at IS NULL) OR (a.instance IS NOT NULL)))))
     LEFT JOIN pem.host o ON ((o.target_id = a.host_target_id)))
     LEFT JOIN pem.agent_heartbeat h ON ((h.agent_id = a.id)));

ALTER TABLE pem.agent_status OWNER TO pem_owner;

CREATE TABLE pem.command (
    id bigint NOT NULL,
    agent_id integer NOT NULL,
    kind text NOT NULL,
    payload jsonb DEFAULT '{}'::jsonb NOT NULL,
    created_by name DEFAULT SESSION_USER NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    delivered_at timestamp with time zone,
    delivered_boot uuid,
    done_at timestamp with time zone,
    result jsonb
);

ALTER TABLE pem.command OWNER TO pem_owner;

ALTER TABLE pem.command ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME pem.command_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE pem.csr (
    id bigint NOT NULL,
    agent_id integer NOT NULL,
    csr text NOT NULL,
    requested_at timestamp with time zone DEFAULT now() NOT NULL,
    certificate text,
    serial text,
    not_after timestamp with time zone,
    signed_at timestamp with time zone,
    refused_reason text,
    delivered_at timestamp with time zone,
    CONSTRAINT csr_csr_check CHECK ((length(csr) <= 16384))
);

ALTER TABLE pem.csr OWNER TO pem_owner;

ALTER TABLE pem.csr ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME pem.csr_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW pem.inbox WITH (security_invoker='true') AS
 SELECT NULL::bytea AS batch
  WHERE false;

ALTER TABLE pem.inbox OWNER TO pem_owner;

CREATE UNLOGGED TABLE pem.ingest_suspect (
    inbox_id bigint NOT NULL,
    tries integer NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE pem.ingest_suspect OWNER TO pem_owner;

CREATE TABLE pem.migration (
    version integer NOT NULL,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL
);

ALTER TABLE pem.migration OWNER TO pem_owner;

CREATE TABLE pem.one_time_link (
    token_hash bytea NOT NULL,
    username name NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone
);

ALTER TABLE pem.one_time_link OWNER TO pem_owner;

CREATE TABLE pem.probe_state (
    target_id bigint NOT NULL,
    probe text NOT NULL,
    scope text DEFAULT ''::text NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    arrival bigint NOT NULL,
    seq bigint NOT NULL,
    full_arrival bigint,
    full_seq bigint,
    rows integer,
    seen_at timestamp with time zone DEFAULT clock_timestamp() NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pem.probe_state OWNER TO pem_owner;

COMMENT ON COLUMN pem.probe_state.recorded_at IS 'When the newest block was measured, by the agent''s clock.';

COMMENT ON COLUMN pem.probe_state.seen_at IS 'When the newest block came in, by PEM''s clock.';

ALTER TABLE pem.quarantine ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME pem.quarantine_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE pem.registration_token (
    id bigint NOT NULL,
    role name NOT NULL,
    created_by name NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    used_at timestamp with time zone,
    agent_id integer,
    display_name text NOT NULL,
    owner name NOT NULL,
    team name
);

ALTER TABLE pem.registration_token OWNER TO pem_owner;

ALTER TABLE pem.registration_token ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME pem.registration_token_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE VIEW pem.server_status WITH (security_invoker='true') AS
 SELECT s.target_id,
    t.name,
    s.host,
    s.port,
    s.database,
    s.active,
        CASE
            WHEN (p.recorded_at IS NULL) THEN 'unknown'::text
            WHEN (LEAST(p.seen_at, (p.recorded_at + k.ahead)) < (now() - GREATEST('00:00:15'::interval, (((3 * COALESCE(c.interval_ms, i.interval_ms, 5000)))::double precision * '00:00:00.001'::interval)))) THEN
            CASE
                WHEN ((k.ahead < '-01:00:00'::interval) OR (k.ahead > '01:00:00'::interval)) THEN 'unknown'::text
                ELSE 'down'::text
            END
            WHEN ((a.status IS NOT NULL) AND (a.status <> 'up'::text)) THEN a.status
            ELSE 'up'::text
        END AS status,
    ta.agent_id,
    s.host_target_id,
    s.server_version_num,
    s.system_identifier,
    s.error,
    t.owner,
    t.team,
    p.recorded_at AS last_sample
   FROM (((((((pem.server s
     JOIN pem.target t ON (((t.id = s.target_id) AND (t.deleted_at IS NULL))))
     LEFT JOIN pem.target_agent ta ON (((ta.target_id = s.target_id) AND (ta.until IS NULL))))
     LEFT JOIN pem.probe_state p ON (((p.target_id = s.target_id) AND (p.probe = 'server_info'::text) AND (p.scope = ''::text))))
     LEFT JOIN pem.probe i ON ((i.name = 'server_info'::text)))
     LEFT JOIN pem.probe_config c ON (((c.target_id = s.target_id) AND (c.probe = 'server_info'::text))))
     LEFT JOIN pem.agent_status a ON ((a.agent_id = ta.agent_id)))
     CROSS JOIN LATERAL ( SELECT
                CASE
                    WHEN (jsonb_typeof((a.info -> 'clockOffsetUs'::text)) = 'number'::text) THEN ((GREATEST(LEAST(((a.info -> 'clockOffsetUs'::text))::numeric, '1000000000000000'::numeric), '-1000000000000000'::numeric))::double precision * '00:00:00.000001'::interval)
                    ELSE NULL::interval
                END AS ahead) k);

ALTER TABLE pem.server_status OWNER TO pem_owner;

CREATE TABLE pem.stray (
    agent_id integer NOT NULL,
    boot uuid NOT NULL,
    seq bigint NOT NULL,
    target_id bigint NOT NULL,
    probe text NOT NULL,
    reason text NOT NULL,
    rows integer NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT stray_reason_check CHECK ((reason = ANY (ARRAY['expired'::text, 'future'::text])))
);

ALTER TABLE pem.stray OWNER TO pem_owner;

ALTER TABLE pem.target ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME pem.target_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

ALTER TABLE pem.trace ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME pem.trace_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE pem.trace_run (
    trace_id bigint NOT NULL,
    run text NOT NULL,
    target_id bigint NOT NULL,
    server_id integer,
    server_name text NOT NULL,
    state text NOT NULL,
    started_at timestamp with time zone,
    stopped_at timestamp with time zone,
    until_at timestamp with time zone,
    stop_reason text,
    rows_read bigint NOT NULL,
    bytes_read bigint NOT NULL,
    events_sent bigint NOT NULL,
    events_dropped bigint NOT NULL,
    rows_skipped bigint NOT NULL,
    bad_rows bigint NOT NULL,
    repeated_rows bigint NOT NULL,
    lag_bytes bigint NOT NULL,
    server_rows bigint,
    server_bytes bigint,
    server_lost_rows bigint,
    server_lost_reason text,
    reported_at timestamp with time zone DEFAULT now() NOT NULL
)
WITH (fillfactor='70');

ALTER TABLE pem.trace_run OWNER TO pem_owner;

COMMENT ON TABLE pem.trace_run IS 'What agents said of each trace they ran; server_id is the column trace of pemhistory.sql_trace_*.';

COMMENT ON COLUMN pem.trace_run.events_dropped IS 'Statements counted in the aggregates that did not travel one by one.';

COMMENT ON COLUMN pem.trace_run.rows_skipped IS 'Rows that the agent left unread because it was too far behind: in no aggregate.';

COMMENT ON COLUMN pem.trace_run.repeated_rows IS 'Rows that the agent read beyond what the server had written: some came twice.';

CREATE SEQUENCE pem.tracer_seq
    AS integer
    START WITH 2000000000
    INCREMENT BY 1
    MINVALUE 2000000000
    NO MAXVALUE
    CACHE 1;

ALTER TABLE pem.tracer_seq OWNER TO pem_owner;

CREATE TABLE pem.web_session (
    token_hash bytea NOT NULL,
    username name NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    csrf text NOT NULL
);

ALTER TABLE pem.web_session OWNER TO pem_owner;

CREATE TABLE pem_inbox.state (
    one boolean DEFAULT true NOT NULL,
    active integer DEFAULT 0 NOT NULL,
    switched_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT state_active_check CHECK (((active >= 0) AND (active <= 3))),
    CONSTRAINT state_one_check CHECK (one)
);

ALTER TABLE pem_inbox.state OWNER TO pem_owner;

CREATE TABLE pemdata.agent_probes (
    target_id bigint NOT NULL,
    probe text NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    state text,
    interval_ms double precision,
    last_ms double precision,
    mean_ms double precision,
    max_ms double precision,
    total_ms double precision,
    runs bigint,
    rows bigint,
    bytes bigint,
    errors bigint,
    skipped bigint,
    slowdowns bigint,
    cut_values bigint,
    last_error_code text,
    last_error text,
    last_error_at timestamp with time zone,
    _arrival bigint NOT NULL,
    _seq bigint NOT NULL,
    _gone boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pemdata.agent_probes OWNER TO pem_owner;

CREATE TABLE pemdata.agent_self (
    target_id bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    agent_version text,
    boot text,
    uptime_s double precision,
    rss_bytes bigint,
    cpu_percent double precision,
    loop_delay_ms double precision,
    lag_ms double precision,
    spool_bytes bigint,
    spool_batches bigint,
    shipped_batches bigint,
    shipped_bytes bigint,
    dropped_batches bigint,
    dropped_rows bigint,
    ship_errors bigint,
    connected boolean,
    runs bigint,
    rows bigint,
    bytes bigint,
    probe_errors bigint,
    skipped bigint,
    slowdowns bigint,
    server_connects bigint,
    traces_running bigint,
    trace_rows bigint,
    trace_bytes bigint,
    trace_events bigint,
    trace_events_dropped bigint,
    trace_rows_skipped bigint,
    trace_lag_bytes bigint,
    _arrival bigint NOT NULL,
    _seq bigint NOT NULL,
    _gone boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pemdata.agent_self OWNER TO pem_owner;

CREATE TABLE pemdata.background_writer_statistics (
    target_id bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    checkpoints_timed bigint,
    checkpoints_requested bigint,
    checkpoints_done bigint,
    checkpoint_write_ms double precision,
    checkpoint_sync_ms double precision,
    restartpoints_timed bigint,
    restartpoints_requested bigint,
    restartpoints_done bigint,
    buffers_checkpoint bigint,
    buffers_clean bigint,
    maxwritten_clean bigint,
    buffers_backend bigint,
    buffers_backend_fsync bigint,
    buffers_alloc bigint,
    stats_reset timestamp with time zone,
    _arrival bigint NOT NULL,
    _seq bigint NOT NULL,
    _gone boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pemdata.background_writer_statistics OWNER TO pem_owner;

CREATE TABLE pemdata.cpu_usage (
    target_id bigint NOT NULL,
    cpu text NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    busy_percent double precision,
    user_percent double precision,
    nice_percent double precision,
    system_percent double precision,
    iowait_percent double precision,
    irq_percent double precision,
    steal_percent double precision,
    idle_percent double precision,
    _arrival bigint NOT NULL,
    _seq bigint NOT NULL,
    _gone boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pemdata.cpu_usage OWNER TO pem_owner;

CREATE TABLE pemdata.database_statistics (
    target_id bigint NOT NULL,
    database_name name NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    backends integer,
    xact_commit bigint,
    xact_rollback bigint,
    blks_read bigint,
    blks_hit bigint,
    tup_returned bigint,
    tup_fetched bigint,
    tup_inserted bigint,
    tup_updated bigint,
    tup_deleted bigint,
    conflicts bigint,
    temp_files bigint,
    temp_bytes bigint,
    deadlocks bigint,
    checksum_failures bigint,
    blk_read_time double precision,
    blk_write_time double precision,
    session_time double precision,
    active_time double precision,
    idle_in_transaction_time double precision,
    sessions bigint,
    sessions_abandoned bigint,
    sessions_fatal bigint,
    sessions_killed bigint,
    parallel_workers_to_launch bigint,
    parallel_workers_launched bigint,
    frozen_xid_age integer,
    connection_limit integer,
    stats_reset timestamp with time zone,
    _arrival bigint NOT NULL,
    _seq bigint NOT NULL,
    _gone boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pemdata.database_statistics OWNER TO pem_owner;

CREATE TABLE pemdata.disk_busy_info (
    target_id bigint NOT NULL,
    device text NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    busy_percent double precision,
    reads_per_s double precision,
    writes_per_s double precision,
    read_bytes_per_s double precision,
    write_bytes_per_s double precision,
    read_await_ms double precision,
    write_await_ms double precision,
    flush_await_ms double precision,
    queue_length double precision,
    read_bytes bigint,
    written_bytes bigint,
    _arrival bigint NOT NULL,
    _seq bigint NOT NULL,
    _gone boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pemdata.disk_busy_info OWNER TO pem_owner;

CREATE TABLE pemdata.disk_space (
    target_id bigint NOT NULL,
    mount text NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    device text,
    fs_type text,
    read_only boolean,
    total_bytes bigint,
    used_bytes bigint,
    free_bytes bigint,
    available_bytes bigint,
    used_percent double precision,
    inodes bigint,
    inodes_free bigint,
    inodes_used_percent double precision,
    _arrival bigint NOT NULL,
    _seq bigint NOT NULL,
    _gone boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pemdata.disk_space OWNER TO pem_owner;

CREATE TABLE pemdata.ingest_self (
    target_id bigint NOT NULL,
    name text NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    lag_ms double precision,
    inbox_batches bigint,
    inbox_bytes bigint,
    batches bigint,
    rows bigint,
    duplicates bigint,
    quarantined bigint,
    stray bigint,
    cycle_ms double precision,
    _arrival bigint NOT NULL,
    _seq bigint NOT NULL,
    _gone boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pemdata.ingest_self OWNER TO pem_owner;

CREATE TABLE pemdata.load_average (
    target_id bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    load_1m double precision,
    load_5m double precision,
    load_15m double precision,
    running integer,
    tasks integer,
    _arrival bigint NOT NULL,
    _seq bigint NOT NULL,
    _gone boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pemdata.load_average OWNER TO pem_owner;

CREATE TABLE pemdata.memory_usage (
    target_id bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    total_bytes bigint,
    used_bytes bigint,
    available_bytes bigint,
    free_bytes bigint,
    buffers_bytes bigint,
    cached_bytes bigint,
    shared_bytes bigint,
    slab_bytes bigint,
    page_tables_bytes bigint,
    dirty_bytes bigint,
    writeback_bytes bigint,
    committed_bytes bigint,
    commit_limit_bytes bigint,
    huge_total_bytes bigint,
    huge_free_bytes bigint,
    swap_total_bytes bigint,
    swap_used_bytes bigint,
    swapped_in_bytes bigint,
    swapped_out_bytes bigint,
    oom_kills bigint,
    _arrival bigint NOT NULL,
    _seq bigint NOT NULL,
    _gone boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pemdata.memory_usage OWNER TO pem_owner;

CREATE TABLE pemdata.network_statistics (
    target_id bigint NOT NULL,
    interface text NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    address text,
    link_speed_mbit integer,
    received_bytes_per_s double precision,
    sent_bytes_per_s double precision,
    received_bytes bigint,
    sent_bytes bigint,
    received_packets bigint,
    sent_packets bigint,
    receive_errors bigint,
    send_errors bigint,
    receive_drops bigint,
    send_drops bigint,
    _arrival bigint NOT NULL,
    _seq bigint NOT NULL,
    _gone boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pemdata.network_statistics OWNER TO pem_owner;

CREATE TABLE pemdata.server_info (
    target_id bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    version text,
    server_version_num integer,
    system_identifier bigint,
    cluster_name text,
    started_at timestamp with time zone,
    config_loaded_at timestamp with time zone,
    uptime_s double precision,
    in_recovery boolean,
    timeline integer,
    wal_lsn pg_lsn,
    wal_bytes bigint,
    replay_delay_s double precision,
    last_checkpoint_at timestamp with time zone,
    data_checksums boolean,
    max_connections integer,
    connections integer,
    sessions_active integer,
    sessions_idle integer,
    sessions_idle_in_transaction integer,
    sessions_waiting_for_lock integer,
    oldest_transaction_s double precision,
    databases integer,
    next_xid bigint,
    frozen_xid_age integer,
    _arrival bigint NOT NULL,
    _seq bigint NOT NULL,
    _gone boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pemdata.server_info OWNER TO pem_owner;

CREATE TABLE pemdata.session_info (
    target_id bigint NOT NULL,
    pid integer NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    backend_type text,
    database_name name,
    user_name name,
    application_name text,
    client_address inet,
    client_port integer,
    backend_start timestamp with time zone,
    xact_start timestamp with time zone,
    query_start timestamp with time zone,
    state_change timestamp with time zone,
    state text,
    wait_event_type text,
    wait_event text,
    backend_xid xid,
    backend_xmin xid,
    leader_pid integer,
    query_id bigint,
    query text,
    _arrival bigint NOT NULL,
    _seq bigint NOT NULL,
    _gone boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pemdata.session_info OWNER TO pem_owner;

CREATE TABLE pemdata.settings (
    target_id bigint NOT NULL,
    name text NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    setting text,
    unit text,
    category text,
    context text,
    vartype text,
    source text,
    boot_val text,
    sourcefile text,
    sourceline integer,
    pending_restart boolean,
    _arrival bigint NOT NULL,
    _seq bigint NOT NULL,
    _gone boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pemdata.settings OWNER TO pem_owner;

CREATE TABLE pemdata.sql_trace_texts (
    target_id bigint NOT NULL,
    fingerprint bigint NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    text text,
    _arrival bigint NOT NULL,
    _seq bigint NOT NULL,
    _gone boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pemdata.sql_trace_texts OWNER TO pem_owner;

CREATE TABLE pemdata.table_statistics (
    target_id bigint NOT NULL,
    database_name name NOT NULL,
    schema_name name NOT NULL,
    table_name name NOT NULL,
    recorded_at timestamp with time zone NOT NULL,
    relid oid,
    seq_scan bigint,
    seq_tup_read bigint,
    idx_scan bigint,
    idx_tup_fetch bigint,
    n_tup_ins bigint,
    n_tup_upd bigint,
    n_tup_del bigint,
    n_tup_hot_upd bigint,
    n_tup_newpage_upd bigint,
    n_live_tup bigint,
    n_dead_tup bigint,
    n_mod_since_analyze bigint,
    n_ins_since_vacuum bigint,
    last_vacuum timestamp with time zone,
    last_autovacuum timestamp with time zone,
    last_analyze timestamp with time zone,
    last_autoanalyze timestamp with time zone,
    last_seq_scan timestamp with time zone,
    last_idx_scan timestamp with time zone,
    vacuum_count bigint,
    autovacuum_count bigint,
    analyze_count bigint,
    autoanalyze_count bigint,
    estimated_rows real,
    estimated_bytes bigint,
    frozen_xid xid,
    _arrival bigint NOT NULL,
    _seq bigint NOT NULL,
    _gone boolean DEFAULT false NOT NULL
)
WITH (fillfactor='50');

ALTER TABLE pemdata.table_statistics OWNER TO pem_owner;

CREATE TABLE pemhistory.agent_probes (
    recorded_at timestamp with time zone NOT NULL,
    target_id bigint NOT NULL,
    probe text NOT NULL,
    state text,
    interval_ms double precision,
    last_ms double precision,
    mean_ms double precision,
    max_ms double precision,
    total_ms double precision,
    runs bigint,
    rows bigint,
    bytes bigint,
    errors bigint,
    skipped bigint,
    slowdowns bigint,
    cut_values bigint,
    last_error_code text,
    last_error text,
    last_error_at timestamp with time zone
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE pemhistory.agent_probes OWNER TO pem_history;

CREATE TABLE pemhistory.agent_self (
    recorded_at timestamp with time zone NOT NULL,
    target_id bigint NOT NULL,
    agent_version text,
    boot text,
    uptime_s double precision,
    rss_bytes bigint,
    cpu_percent double precision,
    loop_delay_ms double precision,
    lag_ms double precision,
    spool_bytes bigint,
    spool_batches bigint,
    shipped_batches bigint,
    shipped_bytes bigint,
    dropped_batches bigint,
    dropped_rows bigint,
    ship_errors bigint,
    connected boolean,
    runs bigint,
    rows bigint,
    bytes bigint,
    probe_errors bigint,
    skipped bigint,
    slowdowns bigint,
    server_connects bigint,
    traces_running bigint,
    trace_rows bigint,
    trace_bytes bigint,
    trace_events bigint,
    trace_events_dropped bigint,
    trace_rows_skipped bigint,
    trace_lag_bytes bigint
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE pemhistory.agent_self OWNER TO pem_history;

CREATE TABLE pemhistory.background_writer_statistics (
    recorded_at timestamp with time zone NOT NULL,
    target_id bigint NOT NULL,
    checkpoints_timed bigint,
    checkpoints_requested bigint,
    checkpoints_done bigint,
    checkpoint_write_ms double precision,
    checkpoint_sync_ms double precision,
    restartpoints_timed bigint,
    restartpoints_requested bigint,
    restartpoints_done bigint,
    buffers_checkpoint bigint,
    buffers_clean bigint,
    maxwritten_clean bigint,
    buffers_backend bigint,
    buffers_backend_fsync bigint,
    buffers_alloc bigint,
    stats_reset timestamp with time zone
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE pemhistory.background_writer_statistics OWNER TO pem_history;

CREATE TABLE pemhistory.cpu_usage (
    recorded_at timestamp with time zone NOT NULL,
    target_id bigint NOT NULL,
    cpu text NOT NULL,
    busy_percent double precision,
    user_percent double precision,
    nice_percent double precision,
    system_percent double precision,
    iowait_percent double precision,
    irq_percent double precision,
    steal_percent double precision,
    idle_percent double precision
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE pemhistory.cpu_usage OWNER TO pem_history;

CREATE TABLE pemhistory.database_statistics (
    recorded_at timestamp with time zone NOT NULL,
    target_id bigint NOT NULL,
    database_name name NOT NULL,
    backends integer,
    xact_commit bigint,
    xact_rollback bigint,
    blks_read bigint,
    blks_hit bigint,
    tup_returned bigint,
    tup_fetched bigint,
    tup_inserted bigint,
    tup_updated bigint,
    tup_deleted bigint,
    conflicts bigint,
    temp_files bigint,
    temp_bytes bigint,
    deadlocks bigint,
    checksum_failures bigint,
    blk_read_time double precision,
    blk_write_time double precision,
    session_time double precision,
    active_time double precision,
    idle_in_transaction_time double precision,
    sessions bigint,
    sessions_abandoned bigint,
    sessions_fatal bigint,
    sessions_killed bigint,
    parallel_workers_to_launch bigint,
    parallel_workers_launched bigint,
    frozen_xid_age integer,
    connection_limit integer,
    stats_reset timestamp with time zone
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE pemhistory.database_statistics OWNER TO pem_history;

CREATE TABLE pemhistory.disk_busy_info (
    recorded_at timestamp with time zone NOT NULL,
    target_id bigint NOT NULL,
    device text NOT NULL,
    busy_percent double precision,
    reads_per_s double precision,
    writes_per_s double precision,
    read_bytes_per_s double precision,
    write_bytes_per_s double precision,
    read_await_ms double precision,
    write_await_ms double precision,
    flush_await_ms double precision,
    queue_length double precision,
    read_bytes bigint,
    written_bytes bigint
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE pemhistory.disk_busy_info OWNER TO pem_history;

CREATE TABLE pemhistory.disk_space (
    recorded_at timestamp with time zone NOT NULL,
    target_id bigint NOT NULL,
    mount text NOT NULL,
    device text,
    fs_type text,
    read_only boolean,
    total_bytes bigint,
    used_bytes bigint,
    free_bytes bigint,
    available_bytes bigint,
    used_percent double precision,
    inodes bigint,
    inodes_free bigint,
    inodes_used_percent double precision
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE pemhistory.disk_space OWNER TO pem_history;

CREATE TABLE pemhistory.ingest_self (
    recorded_at timestamp with time zone NOT NULL,
    target_id bigint NOT NULL,
    name text NOT NULL,
    lag_ms double precision,
    inbox_batches bigint,
    inbox_bytes bigint,
    batches bigint,
    rows bigint,
    duplicates bigint,
    quarantined bigint,
    stray bigint,
    cycle_ms double precision
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE pemhistory.ingest_self OWNER TO pem_history;

CREATE TABLE pemhistory.load_average (
    recorded_at timestamp with time zone NOT NULL,
    target_id bigint NOT NULL,
    load_1m double precision,
    load_5m double precision,
    load_15m double precision,
    running integer,
    tasks integer
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE pemhistory.load_average OWNER TO pem_history;

CREATE TABLE pemhistory.memory_usage (
    recorded_at timestamp with time zone NOT NULL,
    target_id bigint NOT NULL,
    total_bytes bigint,
    used_bytes bigint,
    available_bytes bigint,
    free_bytes bigint,
    buffers_bytes bigint,
    cached_bytes bigint,
    shared_bytes bigint,
    slab_bytes bigint,
    page_tables_bytes bigint,
    dirty_bytes bigint,
    writeback_bytes bigint,
    committed_bytes bigint,
    commit_limit_bytes bigint,
    huge_total_bytes bigint,
    huge_free_bytes bigint,
    swap_total_bytes bigint,
    swap_used_bytes bigint,
    swapped_in_bytes bigint,
    swapped_out_bytes bigint,
    oom_kills bigint
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE pemhistory.memory_usage OWNER TO pem_history;

CREATE TABLE pemhistory.network_statistics (
    recorded_at timestamp with time zone NOT NULL,
    target_id bigint NOT NULL,
    interface text NOT NULL,
    address text,
    link_speed_mbit integer,
    received_bytes_per_s double precision,
    sent_bytes_per_s double precision,
    received_bytes bigint,
    sent_bytes bigint,
    received_packets bigint,
    sent_packets bigint,
    receive_errors bigint,
    send_errors bigint,
    receive_drops bigint,
    send_drops bigint
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE pemhistory.network_statistics OWNER TO pem_history;

CREATE TABLE pemhistory.server_info (
    recorded_at timestamp with time zone NOT NULL,
    target_id bigint NOT NULL,
    version text,
    server_version_num integer,
    system_identifier bigint,
    cluster_name text,
    started_at timestamp with time zone,
    config_loaded_at timestamp with time zone,
    uptime_s double precision,
    in_recovery boolean,
    timeline integer,
    wal_lsn pg_lsn,
    wal_bytes bigint,
    replay_delay_s double precision,
    last_checkpoint_at timestamp with time zone,
    data_checksums boolean,
    max_connections integer,
    connections integer,
    sessions_active integer,
    sessions_idle integer,
    sessions_idle_in_transaction integer,
    sessions_waiting_for_lock integer,
    oldest_transaction_s double precision,
    databases integer,
    next_xid bigint,
    frozen_xid_age integer
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE pemhistory.server_info OWNER TO pem_history;

CREATE TABLE pemhistory.session_info (
    recorded_at timestamp with time zone NOT NULL,
    target_id bigint NOT NULL,
    pid integer NOT NULL,
    backend_type text,
    database_name name,
    user_name name,
    application_name text,
    client_address inet,
    client_port integer,
    backend_start timestamp with time zone,
    xact_start timestamp with time zone,
    query_start timestamp with time zone,
    state_change timestamp with time zone,
    state text,
    wait_event_type text,
    wait_event text,
    backend_xid xid,
    backend_xmin xid,
    leader_pid integer,
    query_id bigint,
    query text
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE pemhistory.session_info OWNER TO pem_history;

CREATE TABLE pemhistory.settings (
    recorded_at timestamp with time zone NOT NULL,
    target_id bigint NOT NULL,
    gone boolean NOT NULL,
    name text NOT NULL,
    setting text,
    unit text,
    category text,
    context text,
    vartype text,
    source text,
    boot_val text,
    sourcefile text,
    sourceline integer,
    pending_restart boolean
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE pemhistory.settings OWNER TO pem_history;

CREATE TABLE pemhistory.sql_trace_events (
    recorded_at timestamp with time zone NOT NULL,
    target_id bigint NOT NULL,
    line bigint,
    end_time timestamp with time zone,
    exec_us bigint,
    elapsed_us bigint,
    serial bigint,
    backend_start timestamp with time zone,
    fingerprint bigint,
    query_id bigint,
    rows bigint,
    shared_hit bigint,
    trace integer,
    slot integer,
    pid integer,
    zeros integer,
    flags integer,
    level integer,
    parent bigint,
    plan_us bigint,
    shared_read bigint,
    shared_dirtied bigint,
    shared_written bigint,
    local_hit bigint,
    local_read bigint,
    local_dirtied bigint,
    local_written bigint,
    temp_read bigint,
    temp_written bigint,
    shared_read_us bigint,
    shared_write_us bigint,
    temp_read_us bigint,
    temp_write_us bigint,
    wal_records bigint,
    wal_fpi bigint,
    wal_bytes bigint,
    jit_us bigint,
    cpu_user_us bigint,
    cpu_system_us bigint,
    major_faults bigint,
    voluntary_switches bigint,
    involuntary_switches bigint,
    workers_planned integer,
    workers_launched integer,
    xid xid,
    vxid text,
    database_name text,
    user_name text,
    application text,
    client text,
    tag text,
    sqlstate text,
    error text,
    query text,
    params text,
    plan text,
    database name,
    username name
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE pemhistory.sql_trace_events OWNER TO pem_history;

CREATE TABLE pemhistory.sql_trace_statements (
    recorded_at timestamp with time zone NOT NULL,
    target_id bigint NOT NULL,
    trace integer NOT NULL,
    database name NOT NULL,
    username name NOT NULL,
    nested boolean NOT NULL,
    query_id bigint NOT NULL,
    fingerprint bigint NOT NULL,
    tag text,
    first_at timestamp with time zone,
    last_at timestamp with time zone,
    calls bigint,
    timed bigint,
    planned bigint,
    errors bigint,
    cancelled bigint,
    last_sqlstate text,
    exec_us bigint,
    min_us bigint,
    max_us bigint,
    histogram text,
    elapsed_us bigint,
    plan_us bigint,
    rows bigint,
    shared_hit bigint,
    shared_read bigint,
    shared_dirtied bigint,
    shared_written bigint,
    local_hit bigint,
    local_read bigint,
    local_dirtied bigint,
    local_written bigint,
    temp_read bigint,
    temp_written bigint,
    shared_read_us bigint,
    shared_write_us bigint,
    local_read_us bigint,
    local_write_us bigint,
    temp_read_us bigint,
    temp_write_us bigint,
    wal_records bigint,
    wal_fpi bigint,
    wal_bytes bigint,
    jit_us bigint,
    cpu_user_us bigint,
    cpu_system_us bigint,
    missed_calls bigint,
    missed_us bigint
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE pemhistory.sql_trace_statements OWNER TO pem_history;

CREATE TABLE pemhistory.table_statistics (
    recorded_at timestamp with time zone NOT NULL,
    target_id bigint NOT NULL,
    gone boolean NOT NULL,
    database_name name NOT NULL,
    schema_name name NOT NULL,
    table_name name NOT NULL,
    relid oid,
    seq_scan bigint,
    seq_tup_read bigint,
    idx_scan bigint,
    idx_tup_fetch bigint,
    n_tup_ins bigint,
    n_tup_upd bigint,
    n_tup_del bigint,
    n_tup_hot_upd bigint,
    n_tup_newpage_upd bigint,
    n_live_tup bigint,
    n_dead_tup bigint,
    n_mod_since_analyze bigint,
    n_ins_since_vacuum bigint,
    last_vacuum timestamp with time zone,
    last_autovacuum timestamp with time zone,
    last_analyze timestamp with time zone,
    last_autoanalyze timestamp with time zone,
    last_seq_scan timestamp with time zone,
    last_idx_scan timestamp with time zone,
    vacuum_count bigint,
    autovacuum_count bigint,
    analyze_count bigint,
    autoanalyze_count bigint,
    estimated_rows real,
    estimated_bytes bigint,
    frozen_xid xid
)
PARTITION BY RANGE (recorded_at);

ALTER TABLE pemhistory.table_statistics OWNER TO pem_history;

ALTER TABLE ONLY pem.agent_heartbeat
    ADD CONSTRAINT agent_heartbeat_pkey PRIMARY KEY (agent_id);

ALTER TABLE ONLY pem.agent
    ADD CONSTRAINT agent_instance_key UNIQUE (instance);

ALTER TABLE ONLY pem.agent
    ADD CONSTRAINT agent_pkey PRIMARY KEY (id);

ALTER TABLE ONLY pem.agent
    ADD CONSTRAINT agent_role_key UNIQUE (role);

ALTER TABLE ONLY pem.command
    ADD CONSTRAINT command_pkey PRIMARY KEY (id);

ALTER TABLE ONLY pem.config
    ADD CONSTRAINT config_pkey PRIMARY KEY (param);

ALTER TABLE ONLY pem.csr
    ADD CONSTRAINT csr_pkey PRIMARY KEY (id);

ALTER TABLE ONLY pem.csr
    ADD CONSTRAINT csr_serial_key UNIQUE (serial);

ALTER TABLE ONLY pem.host
    ADD CONSTRAINT host_pkey PRIMARY KEY (target_id);

ALTER TABLE ONLY pem.ingest_suspect
    ADD CONSTRAINT ingest_suspect_pkey PRIMARY KEY (inbox_id);

ALTER TABLE ONLY pem.ingester
    ADD CONSTRAINT ingester_pkey PRIMARY KEY (name);

ALTER TABLE ONLY pem.migration
    ADD CONSTRAINT migration_pkey PRIMARY KEY (version);

ALTER TABLE ONLY pem.one_time_link
    ADD CONSTRAINT one_time_link_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY pem.probe_config
    ADD CONSTRAINT probe_config_pkey PRIMARY KEY (target_id, probe);

ALTER TABLE ONLY pem.probe
    ADD CONSTRAINT probe_pkey PRIMARY KEY (name);

ALTER TABLE ONLY pem.probe_state
    ADD CONSTRAINT probe_state_pkey PRIMARY KEY (target_id, probe, scope);

ALTER TABLE ONLY pem.quarantine
    ADD CONSTRAINT quarantine_pkey PRIMARY KEY (id);

ALTER TABLE ONLY pem.received
    ADD CONSTRAINT received_pkey PRIMARY KEY (agent_id, boot);

ALTER TABLE ONLY pem.registration_token
    ADD CONSTRAINT registration_token_pkey PRIMARY KEY (id);

ALTER TABLE ONLY pem.registration_token
    ADD CONSTRAINT registration_token_role_key UNIQUE (role);

ALTER TABLE ONLY pem.server_connection
    ADD CONSTRAINT server_connection_pkey PRIMARY KEY (target_id, username);

ALTER TABLE ONLY pem.server
    ADD CONSTRAINT server_pkey PRIMARY KEY (target_id);

ALTER TABLE ONLY pem.target_agent
    ADD CONSTRAINT target_agent_pkey PRIMARY KEY (target_id, agent_id, since);

ALTER TABLE ONLY pem.target
    ADD CONSTRAINT target_pkey PRIMARY KEY (id);

ALTER TABLE ONLY pem.trace
    ADD CONSTRAINT trace_pkey PRIMARY KEY (id);

ALTER TABLE ONLY pem.trace_run
    ADD CONSTRAINT trace_run_pkey PRIMARY KEY (trace_id, run);

ALTER TABLE ONLY pem.web_session
    ADD CONSTRAINT web_session_pkey PRIMARY KEY (token_hash);

ALTER TABLE ONLY pem_inbox.slot_0
    ADD CONSTRAINT slot_0_pkey PRIMARY KEY (id);

ALTER TABLE ONLY pem_inbox.slot_1
    ADD CONSTRAINT slot_1_pkey PRIMARY KEY (id);

ALTER TABLE ONLY pem_inbox.slot_2
    ADD CONSTRAINT slot_2_pkey PRIMARY KEY (id);

ALTER TABLE ONLY pem_inbox.slot_3
    ADD CONSTRAINT slot_3_pkey PRIMARY KEY (id);

ALTER TABLE ONLY pem_inbox.state
    ADD CONSTRAINT state_pkey PRIMARY KEY (one);

ALTER TABLE ONLY pemdata.agent_probes
    ADD CONSTRAINT agent_probes_pkey PRIMARY KEY (target_id, probe);

ALTER TABLE ONLY pemdata.agent_self
    ADD CONSTRAINT agent_self_pkey PRIMARY KEY (target_id);

ALTER TABLE ONLY pemdata.background_writer_statistics
    ADD CONSTRAINT background_writer_statistics_pkey PRIMARY KEY (target_id);

ALTER TABLE ONLY pemdata.cpu_usage
    ADD CONSTRAINT cpu_usage_pkey PRIMARY KEY (target_id, cpu);

ALTER TABLE ONLY pemdata.database_statistics
    ADD CONSTRAINT database_statistics_pkey PRIMARY KEY (target_id, database_name);

ALTER TABLE ONLY pemdata.disk_busy_info
    ADD CONSTRAINT disk_busy_info_pkey PRIMARY KEY (target_id, device);

ALTER TABLE ONLY pemdata.disk_space
    ADD CONSTRAINT disk_space_pkey PRIMARY KEY (target_id, mount);

ALTER TABLE ONLY pemdata.ingest_self
    ADD CONSTRAINT ingest_self_pkey PRIMARY KEY (target_id, name);

ALTER TABLE ONLY pemdata.load_average
    ADD CONSTRAINT load_average_pkey PRIMARY KEY (target_id);

ALTER TABLE ONLY pemdata.memory_usage
    ADD CONSTRAINT memory_usage_pkey PRIMARY KEY (target_id);

ALTER TABLE ONLY pemdata.network_statistics
    ADD CONSTRAINT network_statistics_pkey PRIMARY KEY (target_id, interface);

ALTER TABLE ONLY pemdata.server_info
    ADD CONSTRAINT server_info_pkey PRIMARY KEY (target_id);

ALTER TABLE ONLY pemdata.session_info
    ADD CONSTRAINT session_info_pkey PRIMARY KEY (target_id, pid);

ALTER TABLE ONLY pemdata.settings
    ADD CONSTRAINT settings_pkey PRIMARY KEY (target_id, name);

ALTER TABLE ONLY pemdata.sql_trace_texts
    ADD CONSTRAINT sql_trace_texts_pkey PRIMARY KEY (target_id, fingerprint);

ALTER TABLE ONLY pemdata.table_statistics
    ADD CONSTRAINT table_statistics_pkey PRIMARY KEY (target_id, database_name, schema_name, table_name);

CREATE INDEX command_open ON pem.command USING btree (agent_id) WHERE (done_at IS NULL);

CREATE INDEX csr_undelivered ON pem.csr USING btree (agent_id) WHERE ((certificate IS NOT NULL) AND (delivered_at IS NULL));

CREATE INDEX csr_waiting ON pem.csr USING btree (id) WHERE ((certificate IS NULL) AND (refused_reason IS NULL));

CREATE INDEX quarantine_agent ON pem.quarantine USING btree (agent_id, at);

CREATE INDEX quarantine_inbox ON pem.quarantine USING btree (inbox_id) WHERE (inbox_id IS NOT NULL);

CREATE INDEX stray_target ON pem.stray USING btree (target_id, at);

CREATE INDEX target_agent_agent ON pem.target_agent USING btree (agent_id);

CREATE UNIQUE INDEX target_agent_one ON pem.target_agent USING btree (target_id) WHERE (until IS NULL);

CREATE UNIQUE INDEX trace_name ON pem.trace USING btree (target_id, name) WHERE (deleted_at IS NULL);

CREATE INDEX slot_0_agent ON pem_inbox.slot_0 USING btree (agent_id);

CREATE INDEX slot_1_agent ON pem_inbox.slot_1 USING btree (agent_id);

CREATE INDEX slot_2_agent ON pem_inbox.slot_2 USING btree (agent_id);

CREATE INDEX slot_3_agent ON pem_inbox.slot_3 USING btree (agent_id);

CREATE INDEX agent_probes_at ON ONLY pemhistory.agent_probes USING btree (target_id, recorded_at);

CREATE INDEX agent_self_at ON ONLY pemhistory.agent_self USING btree (target_id, recorded_at);

CREATE INDEX background_writer_statistics_at ON ONLY pemhistory.background_writer_statistics USING btree (target_id, recorded_at);

CREATE INDEX cpu_usage_at ON ONLY pemhistory.cpu_usage USING btree (target_id, recorded_at);

CREATE INDEX database_statistics_at ON ONLY pemhistory.database_statistics USING btree (target_id, recorded_at);

CREATE INDEX disk_busy_info_at ON ONLY pemhistory.disk_busy_info USING btree (target_id, recorded_at);

CREATE INDEX disk_space_at ON ONLY pemhistory.disk_space USING btree (target_id, recorded_at);

CREATE INDEX ingest_self_at ON ONLY pemhistory.ingest_self USING btree (target_id, recorded_at);

CREATE INDEX load_average_at ON ONLY pemhistory.load_average USING btree (target_id, recorded_at);

CREATE INDEX memory_usage_at ON ONLY pemhistory.memory_usage USING btree (target_id, recorded_at);

CREATE INDEX network_statistics_at ON ONLY pemhistory.network_statistics USING btree (target_id, recorded_at);

CREATE INDEX server_info_at ON ONLY pemhistory.server_info USING btree (target_id, recorded_at);

CREATE INDEX session_info_at ON ONLY pemhistory.session_info USING btree (target_id, recorded_at);

CREATE INDEX settings_at ON ONLY pemhistory.settings USING btree (target_id, recorded_at);

CREATE INDEX sql_trace_events_at ON ONLY pemhistory.sql_trace_events USING btree (target_id, recorded_at);

CREATE INDEX sql_trace_statements_at ON ONLY pemhistory.sql_trace_statements USING btree (target_id, recorded_at);

CREATE INDEX table_statistics_at ON ONLY pemhistory.table_statistics USING btree (target_id, recorded_at);

CREATE TRIGGER accept INSTEAD OF INSERT ON pem.inbox FOR EACH ROW EXECUTE FUNCTION pem_inbox.accept();

CREATE TRIGGER bound_unmanaged BEFORE INSERT OR UPDATE OF request_seq, deleted_at ON pem.trace FOR EACH ROW EXECUTE FUNCTION pem.bound_unmanaged_trace();

CREATE TRIGGER no_tracer_command BEFORE INSERT ON pem.command FOR EACH ROW EXECUTE FUNCTION pem.refuse_tracer_command();

CREATE TRIGGER note_binding BEFORE INSERT ON pem.target_agent FOR EACH ROW EXECUTE FUNCTION pem.note_binding();

CREATE TRIGGER note_certificate BEFORE UPDATE OF certificate, serial, not_after ON pem.csr FOR EACH ROW EXECUTE FUNCTION pem.note_certificate();

ALTER TABLE ONLY pem.agent
    ADD CONSTRAINT agent_host_target_id_fkey FOREIGN KEY (host_target_id) REFERENCES pem.target(id);

ALTER TABLE ONLY pem.command
    ADD CONSTRAINT command_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES pem.agent(id);

ALTER TABLE ONLY pem.csr
    ADD CONSTRAINT csr_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES pem.agent(id);

ALTER TABLE ONLY pem.host
    ADD CONSTRAINT host_target_id_fkey FOREIGN KEY (target_id) REFERENCES pem.target(id);

ALTER TABLE ONLY pem.probe_config
    ADD CONSTRAINT probe_config_probe_fkey FOREIGN KEY (probe) REFERENCES pem.probe(name);

ALTER TABLE ONLY pem.probe_config
    ADD CONSTRAINT probe_config_target_id_fkey FOREIGN KEY (target_id) REFERENCES pem.target(id);

ALTER TABLE ONLY pem.registration_token
    ADD CONSTRAINT registration_token_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES pem.agent(id);

ALTER TABLE ONLY pem.server_connection
    ADD CONSTRAINT server_connection_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES pem.agent(id);

ALTER TABLE ONLY pem.server_connection
    ADD CONSTRAINT server_connection_target_id_fkey FOREIGN KEY (target_id) REFERENCES pem.target(id);

ALTER TABLE ONLY pem.server
    ADD CONSTRAINT server_host_target_id_fkey FOREIGN KEY (host_target_id) REFERENCES pem.target(id);

ALTER TABLE ONLY pem.server
    ADD CONSTRAINT server_target_id_fkey FOREIGN KEY (target_id) REFERENCES pem.target(id);

ALTER TABLE ONLY pem.target_agent
    ADD CONSTRAINT target_agent_agent_id_fkey FOREIGN KEY (agent_id) REFERENCES pem.agent(id);

ALTER TABLE ONLY pem.target_agent
    ADD CONSTRAINT target_agent_target_id_fkey FOREIGN KEY (target_id) REFERENCES pem.target(id);

ALTER TABLE ONLY pem.trace_run
    ADD CONSTRAINT trace_run_target_id_fkey FOREIGN KEY (target_id) REFERENCES pem.target(id);

ALTER TABLE ONLY pem.trace_run
    ADD CONSTRAINT trace_run_trace_id_fkey FOREIGN KEY (trace_id) REFERENCES pem.trace(id);

ALTER TABLE ONLY pem.trace
    ADD CONSTRAINT trace_target_id_fkey FOREIGN KEY (target_id) REFERENCES pem.target(id);

CREATE POLICY advice ON pem.command FOR SELECT TO pem_user USING (
CASE
    WHEN (kind = 'advise_indexes'::text) THEN (((payload ->> 'targetId'::text))::bigint IN ( SELECT t.id
       FROM pem.target t))
    ELSE false
END);

CREATE POLICY advice_alone ON pem.command AS RESTRICTIVE FOR SELECT TO pem_user USING (
CASE
    WHEN (kind = 'advise_indexes'::text) THEN (((payload ->> 'targetId'::text))::bigint IN ( SELECT t.id
       FROM pem.target t))
    ELSE true
END);

ALTER TABLE pem.agent ENABLE ROW LEVEL SECURITY;

ALTER TABLE pem.agent_heartbeat ENABLE ROW LEVEL SECURITY;

ALTER TABLE pem.command ENABLE ROW LEVEL SECURITY;

ALTER TABLE pem.csr ENABLE ROW LEVEL SECURITY;

ALTER TABLE pem.host ENABLE ROW LEVEL SECURITY;

CREATE POLICY master ON pem.agent FOR SELECT TO pem_master USING (true);

CREATE POLICY master ON pem.agent_heartbeat FOR SELECT TO pem_master USING (true);

CREATE POLICY master ON pem.host FOR SELECT TO pem_master USING (true);

CREATE POLICY master ON pem.probe_config FOR SELECT TO pem_master USING (true);

CREATE POLICY master ON pem.probe_state FOR SELECT TO pem_master USING (true);

CREATE POLICY master ON pem.quarantine FOR SELECT TO pem_master USING (true);

CREATE POLICY master ON pem.received FOR SELECT TO pem_master USING (true);

CREATE POLICY master ON pem.server FOR SELECT TO pem_master USING (true);

CREATE POLICY master ON pem.stray FOR SELECT TO pem_master USING (true);

CREATE POLICY master ON pem.target FOR SELECT TO pem_master USING (true);

CREATE POLICY master ON pem.target_agent FOR SELECT TO pem_master USING (true);

CREATE POLICY master ON pem.trace FOR SELECT TO pem_master USING (true);

CREATE POLICY master ON pem.trace_run FOR SELECT TO pem_master USING (true);

ALTER TABLE pem.probe_config ENABLE ROW LEVEL SECURITY;

ALTER TABLE pem.probe_state ENABLE ROW LEVEL SECURITY;

ALTER TABLE pem.quarantine ENABLE ROW LEVEL SECURITY;

ALTER TABLE pem.received ENABLE ROW LEVEL SECURITY;

ALTER TABLE pem.registration_token ENABLE ROW LEVEL SECURITY;

CREATE POLICY reports ON pem.received FOR SELECT TO pem_user USING ((agent_id IN ( SELECT r.agent_id
   FROM pem.target_agent r)));

ALTER TABLE pem.server ENABLE ROW LEVEL SECURITY;

ALTER TABLE pem.server_connection ENABLE ROW LEVEL SECURITY;

CREATE POLICY signer ON pem.agent FOR SELECT TO pem_signer USING (true);

CREATE POLICY signer ON pem.csr TO pem_signer USING (true);

ALTER TABLE pem.stray ENABLE ROW LEVEL SECURITY;

ALTER TABLE pem.target ENABLE ROW LEVEL SECURITY;

ALTER TABLE pem.target_agent ENABLE ROW LEVEL SECURITY;

ALTER TABLE pem.trace ENABLE ROW LEVEL SECURITY;

ALTER TABLE pem.trace_run ENABLE ROW LEVEL SECURITY;

CREATE POLICY visible ON pem.agent FOR SELECT TO pem_user USING ((host_target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pem.agent_heartbeat FOR SELECT TO pem_user USING ((agent_id IN ( SELECT a.id
   FROM pem.agent a)));

CREATE POLICY visible ON pem.command FOR SELECT TO pem_user USING ((agent_id IN ( SELECT a.id
   FROM pem.agent a)));

CREATE POLICY visible ON pem.csr FOR SELECT TO pem_user USING ((agent_id IN ( SELECT a.id
   FROM pem.agent a)));

CREATE POLICY visible ON pem.host FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pem.probe_config FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pem.probe_state FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pem.quarantine FOR SELECT TO pem_user USING ((agent_id IN ( SELECT a.id
   FROM pem.agent a)));

CREATE POLICY visible ON pem.received FOR SELECT TO pem_user USING ((agent_id IN ( SELECT a.id
   FROM pem.agent a)));

CREATE POLICY visible ON pem.registration_token FOR SELECT TO pem_user USING (pem.sees(CURRENT_USER, owner, team));

CREATE POLICY visible ON pem.server FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pem.server_connection FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pem.stray FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pem.target FOR SELECT TO pem_user USING (pem.sees(CURRENT_USER, owner, team));

CREATE POLICY visible ON pem.target_agent FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pem.trace FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pem.trace_run FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

ALTER TABLE pemdata.agent_probes ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemdata.agent_self ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemdata.background_writer_statistics ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemdata.cpu_usage ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemdata.database_statistics ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemdata.disk_busy_info ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemdata.disk_space ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemdata.ingest_self ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemdata.load_average ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemdata.memory_usage ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemdata.network_statistics ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemdata.server_info ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemdata.session_info ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemdata.settings ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemdata.sql_trace_texts ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemdata.table_statistics ENABLE ROW LEVEL SECURITY;

CREATE POLICY visible ON pemdata.agent_probes FOR SELECT TO pem_user USING (((NOT _gone) AND (target_id IN ( SELECT t.id
   FROM pem.target t))));

CREATE POLICY visible ON pemdata.agent_self FOR SELECT TO pem_user USING (((NOT _gone) AND (target_id IN ( SELECT t.id
   FROM pem.target t))));

CREATE POLICY visible ON pemdata.background_writer_statistics FOR SELECT TO pem_user USING (((NOT _gone) AND (target_id IN ( SELECT t.id
   FROM pem.target t))));

CREATE POLICY visible ON pemdata.cpu_usage FOR SELECT TO pem_user USING (((NOT _gone) AND (target_id IN ( SELECT t.id
   FROM pem.target t))));

CREATE POLICY visible ON pemdata.database_statistics FOR SELECT TO pem_user USING (((NOT _gone) AND (target_id IN ( SELECT t.id
   FROM pem.target t))));

CREATE POLICY visible ON pemdata.disk_busy_info FOR SELECT TO pem_user USING (((NOT _gone) AND (target_id IN ( SELECT t.id
   FROM pem.target t))));

CREATE POLICY visible ON pemdata.disk_space FOR SELECT TO pem_user USING (((NOT _gone) AND (target_id IN ( SELECT t.id
   FROM pem.target t))));

CREATE POLICY visible ON pemdata.ingest_self FOR SELECT TO pem_user USING (((NOT _gone) AND (target_id IN ( SELECT t.id
   FROM pem.target t))));

CREATE POLICY visible ON pemdata.load_average FOR SELECT TO pem_user USING (((NOT _gone) AND (target_id IN ( SELECT t.id
   FROM pem.target t))));

CREATE POLICY visible ON pemdata.memory_usage FOR SELECT TO pem_user USING (((NOT _gone) AND (target_id IN ( SELECT t.id
   FROM pem.target t))));

CREATE POLICY visible ON pemdata.network_statistics FOR SELECT TO pem_user USING (((NOT _gone) AND (target_id IN ( SELECT t.id
   FROM pem.target t))));

CREATE POLICY visible ON pemdata.server_info FOR SELECT TO pem_user USING (((NOT _gone) AND (target_id IN ( SELECT t.id
   FROM pem.target t))));

CREATE POLICY visible ON pemdata.session_info FOR SELECT TO pem_user USING (((NOT _gone) AND (target_id IN ( SELECT t.id
   FROM pem.target t))));

CREATE POLICY visible ON pemdata.settings FOR SELECT TO pem_user USING (((NOT _gone) AND (target_id IN ( SELECT t.id
   FROM pem.target t))));

CREATE POLICY visible ON pemdata.sql_trace_texts FOR SELECT TO pem_user USING (((NOT _gone) AND (target_id IN ( SELECT t.id
   FROM pem.target t))));

CREATE POLICY visible ON pemdata.table_statistics FOR SELECT TO pem_user USING (((NOT _gone) AND (target_id IN ( SELECT t.id
   FROM pem.target t))));

ALTER TABLE pemhistory.agent_probes ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemhistory.agent_self ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemhistory.background_writer_statistics ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemhistory.cpu_usage ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemhistory.database_statistics ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemhistory.disk_busy_info ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemhistory.disk_space ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemhistory.ingest_self ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemhistory.load_average ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemhistory.memory_usage ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemhistory.network_statistics ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemhistory.server_info ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemhistory.session_info ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemhistory.settings ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemhistory.sql_trace_events ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemhistory.sql_trace_statements ENABLE ROW LEVEL SECURITY;

ALTER TABLE pemhistory.table_statistics ENABLE ROW LEVEL SECURITY;

CREATE POLICY visible ON pemhistory.agent_probes FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pemhistory.agent_self FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pemhistory.background_writer_statistics FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pemhistory.cpu_usage FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pemhistory.database_statistics FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pemhistory.disk_busy_info FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pemhistory.disk_space FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pemhistory.ingest_self FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pemhistory.load_average FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pemhistory.memory_usage FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pemhistory.network_statistics FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pemhistory.server_info FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pemhistory.session_info FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pemhistory.settings FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pemhistory.sql_trace_events FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pemhistory.sql_trace_statements FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

CREATE POLICY visible ON pemhistory.table_statistics FOR SELECT TO pem_user USING ((target_id IN ( SELECT t.id
   FROM pem.target t)));

GRANT USAGE ON SCHEMA pem TO pem_user;
GRANT USAGE ON SCHEMA pem TO pem_web;
GRANT USAGE ON SCHEMA pem TO pem_ingest;
GRANT USAGE ON SCHEMA pem TO pem_master;
GRANT USAGE ON SCHEMA pem TO pem_signer;
GRANT USAGE ON SCHEMA pem TO pem_agent;
GRANT USAGE ON SCHEMA pem TO pem_registering;
GRANT USAGE ON SCHEMA pem TO pem_registrar;

GRANT USAGE ON SCHEMA pem_inbox TO pem_ingest;

GRANT USAGE ON SCHEMA pemdata TO pem_user;
GRANT USAGE ON SCHEMA pemdata TO pem_ingest;

GRANT USAGE ON SCHEMA pemhistory TO pem_user;
GRANT USAGE ON SCHEMA pemhistory TO pem_ingest;
GRANT ALL ON SCHEMA pemhistory TO pem_history;

GRANT ALL ON SCHEMA pempart TO pem_history;

REVOKE USAGE ON SCHEMA public FROM PUBLIC;

REVOKE ALL ON LANGUAGE plpgsql FROM PUBLIC;
GRANT ALL ON LANGUAGE plpgsql TO pem_owner;

REVOKE ALL ON FUNCTION pem.add_server(agent_id integer, name text, host text, port integer, database text, username text, sslmode text, owner name, team name) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.add_server(agent_id integer, name text, host text, port integer, database text, username text, sslmode text, owner name, team name) TO pem_admin;

REVOKE ALL ON FUNCTION pem.add_unmanaged_server(name text, host text, port integer, database text, username text, sslmode text, owner name, team name) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.add_unmanaged_server(name text, host text, port integer, database text, username text, sslmode text, owner name, team name) TO pem_admin;

REVOKE ALL ON FUNCTION pem.admit_boots(agent_ids integer[], boots uuid[]) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.admit_boots(agent_ids integer[], boots uuid[]) TO pem_ingest;

REVOKE ALL ON FUNCTION pem.be_tracer(instance uuid, hostname text) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.be_tracer(instance uuid, hostname text) TO pem_web;

REVOKE ALL ON FUNCTION pem.bound_unmanaged_trace() FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.bump_config(agent_ids integer[]) FROM PUBLIC;

GRANT SELECT ON TABLE pem.target_agent TO pem_user;
GRANT SELECT ON TABLE pem.target_agent TO pem_ingest;
GRANT SELECT ON TABLE pem.target_agent TO pem_master;

REVOKE ALL ON FUNCTION pem.bump_target(target_id bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.certificate(csr_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.certificate(csr_id bigint) TO pem_agent;

REVOKE ALL ON FUNCTION pem.check_belonging(who name, owner name, team name) FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.check_user(username name) FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.collect_garbage() FROM PUBLIC;
GRANT ALL ON FUNCTION pem.collect_garbage() TO pem_master;

REVOKE ALL ON FUNCTION pem.collect_removed() FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.make_role(kind text, role name, verifier text, valid_until timestamp with time zone) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.make_role(kind text, role name, verifier text, valid_until timestamp with time zone) TO pem_owner;

REVOKE ALL ON FUNCTION pem.create_team(team name) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.create_team(team name) TO pem_super_admin;

REVOKE ALL ON FUNCTION pem.create_token(display_name text, owner name, team name, ttl interval, verifier text) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.create_token(display_name text, owner name, team name, ttl interval, verifier text) TO pem_admin;

REVOKE ALL ON FUNCTION pem.create_trace(target_id bigint, name text, options jsonb, schedule jsonb, duration_s integer, events boolean, events_per_s integer, continuous boolean, keep_files boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.create_trace(target_id bigint, name text, options jsonb, schedule jsonb, duration_s integer, events boolean, events_per_s integer, continuous boolean, keep_files boolean) TO pem_admin;

REVOKE ALL ON FUNCTION pem.create_user(username name, level text, verifier text) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.create_user(username name, level text, verifier text) TO pem_super_admin;

GRANT SELECT ON TABLE pem.agent TO pem_user;
GRANT SELECT ON TABLE pem.agent TO pem_ingest;
GRANT SELECT ON TABLE pem.agent TO pem_master;

GRANT SELECT(id) ON TABLE pem.agent TO pem_signer;

GRANT SELECT(role) ON TABLE pem.agent TO pem_signer;

GRANT SELECT(display_name) ON TABLE pem.agent TO pem_signer;

GRANT SELECT(active) ON TABLE pem.agent TO pem_signer;

GRANT SELECT(revoked_at) ON TABLE pem.agent TO pem_signer;

GRANT SELECT ON TABLE pem.config TO pem_user;
GRANT SELECT ON TABLE pem.config TO pem_web;
GRANT SELECT ON TABLE pem.config TO pem_ingest;
GRANT SELECT ON TABLE pem.config TO pem_master;
GRANT SELECT ON TABLE pem.config TO pem_signer;

GRANT SELECT ON TABLE pem.probe TO pem_user;
GRANT SELECT ON TABLE pem.probe TO pem_web;
GRANT SELECT ON TABLE pem.probe TO pem_ingest;
GRANT SELECT ON TABLE pem.probe TO pem_master;
GRANT SELECT ON TABLE pem.probe TO pem_signer;

GRANT SELECT ON TABLE pem.probe_config TO pem_user;
GRANT SELECT ON TABLE pem.probe_config TO pem_ingest;
GRANT SELECT ON TABLE pem.probe_config TO pem_master;

GRANT SELECT ON TABLE pem.server TO pem_user;
GRANT SELECT ON TABLE pem.server TO pem_ingest;
GRANT SELECT ON TABLE pem.server TO pem_master;

GRANT SELECT ON TABLE pem.target TO pem_user;
GRANT SELECT ON TABLE pem.target TO pem_ingest;
GRANT SELECT ON TABLE pem.target TO pem_master;

GRANT SELECT ON TABLE pem.trace TO pem_user;
GRANT SELECT ON TABLE pem.trace TO pem_master;

REVOKE ALL ON FUNCTION pem.definitions(agent pem.agent) FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.delete_trace(trace_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.delete_trace(trace_id bigint) TO pem_admin;

REVOKE ALL ON FUNCTION pem.disable_user(username name) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.disable_user(username name) TO pem_super_admin;

REVOKE ALL ON FUNCTION pem.drop_token_role(role name) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.drop_token_role(role name) TO pem_owner;

REVOKE ALL ON FUNCTION pem.enable_user(username name) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.enable_user(username name) TO pem_super_admin;

REVOKE ALL ON FUNCTION pem.end_sessions(role name) FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.guard(relation regclass, via text, column_name name) FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.hold_server(target_id bigint, agent_id integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.hold_server(target_id bigint, agent_id integer) TO pem_admin;

GRANT USAGE ON SEQUENCE pem.arrival_seq TO pem_ingest;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pem.quarantine TO pem_ingest;

GRANT SELECT(id) ON TABLE pem.quarantine TO pem_master;

GRANT SELECT(at) ON TABLE pem.quarantine TO pem_master;

GRANT SELECT(agent_id) ON TABLE pem.quarantine TO pem_master;

GRANT SELECT(boot) ON TABLE pem.quarantine TO pem_master;

GRANT SELECT(seq) ON TABLE pem.quarantine TO pem_master;

GRANT SELECT(block_index) ON TABLE pem.quarantine TO pem_master;

GRANT SELECT(target_id) ON TABLE pem.quarantine TO pem_master;

GRANT SELECT(probe) ON TABLE pem.quarantine TO pem_master;

GRANT SELECT(probe_version) ON TABLE pem.quarantine TO pem_master;

GRANT SELECT(code) ON TABLE pem.quarantine TO pem_master;

GRANT SELECT(reason) ON TABLE pem.quarantine TO pem_master;

GRANT SELECT(state) ON TABLE pem.quarantine TO pem_master;

GRANT SELECT,INSERT,UPDATE ON TABLE pem.received TO pem_ingest;
GRANT SELECT ON TABLE pem.received TO pem_master;

GRANT SELECT(agent_id) ON TABLE pem.received TO pem_user;

GRANT SELECT(boot) ON TABLE pem.received TO pem_user;

GRANT SELECT(arrival) ON TABLE pem.received TO pem_user;

GRANT SELECT(ranges) ON TABLE pem.received TO pem_user;

GRANT SELECT,DELETE ON TABLE pem_inbox.slot_0 TO pem_ingest;

GRANT SELECT,DELETE ON TABLE pem_inbox.slot_1 TO pem_ingest;

GRANT SELECT,DELETE ON TABLE pem_inbox.slot_2 TO pem_ingest;

GRANT SELECT,DELETE ON TABLE pem_inbox.slot_3 TO pem_ingest;

GRANT SELECT ON TABLE pem_inbox.slots TO pem_ingest;

REVOKE ALL ON FUNCTION pem.inbox_totals() FROM PUBLIC;
GRANT ALL ON FUNCTION pem.inbox_totals() TO pem_super_admin;
GRANT ALL ON FUNCTION pem.inbox_totals() TO pem_ingest;
GRANT ALL ON FUNCTION pem.inbox_totals() TO pem_master;

GRANT SELECT ON TABLE pem.ingester TO pem_super_admin;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pem.ingester TO pem_ingest;
GRANT SELECT ON TABLE pem.ingester TO pem_master;

REVOKE ALL ON FUNCTION pem.ingest_self() FROM PUBLIC;
GRANT ALL ON FUNCTION pem.ingest_self() TO pem_master;

REVOKE ALL ON FUNCTION pem.invoker() FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.lock_agent(agent_id integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.moment(us text) FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.move_server(target_id bigint, agent_id integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.move_server(target_id bigint, agent_id integer) TO pem_admin;

REVOKE ALL ON FUNCTION pem.note_binding() FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.note_certificate() FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.note_traces(agent_id integer, traces jsonb) FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.quarantine_agent(agent_id integer, reason text) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.quarantine_agent(agent_id integer, reason text) TO pem_ingest;

REVOKE ALL ON FUNCTION pem.sees(who name, owner name, team name) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.sees(who name, owner name, team name) TO pem_user;
GRANT ALL ON FUNCTION pem.sees(who name, owner name, team name) TO pem_master;
GRANT ALL ON FUNCTION pem.sees(who name, owner name, team name) TO pem_signer;

REVOKE ALL ON FUNCTION pem.quarantine_totals() FROM PUBLIC;
GRANT ALL ON FUNCTION pem.quarantine_totals() TO pem_user;

REVOKE ALL ON FUNCTION pem.refuse_tracer_command() FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.register(csr text, facts jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.register(csr text, facts jsonb) TO pem_registering;

REVOKE ALL ON FUNCTION pem.registered_certificate(csr_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.registered_certificate(csr_id bigint) TO pem_registering;

REVOKE ALL ON FUNCTION pem.release_agent(agent_id integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.release_agent(agent_id integer) TO pem_admin;

GRANT SELECT ON TABLE pem.server_connection TO pem_user;

REVOKE ALL ON FUNCTION pem.release_server(agent_id integer, target_id bigint, username name) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.release_server(agent_id integer, target_id bigint, username name) TO pem_web;

REVOKE ALL ON FUNCTION pem.remove_agent(agent_id integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.remove_agent(agent_id integer) TO pem_admin;

REVOKE ALL ON FUNCTION pem.remove_server(target_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.remove_server(target_id bigint) TO pem_admin;

REVOKE ALL ON FUNCTION pem.renew_certificate(csr text) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.renew_certificate(csr text) TO pem_agent;

REVOKE ALL ON FUNCTION pem.reporter() FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.request_advice(trace_id bigint, request jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.request_advice(trace_id bigint, request jsonb) TO pem_admin;

REVOKE ALL ON FUNCTION pem.request_trace(trace_id bigint, request text) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.request_trace(trace_id bigint, request text) TO pem_admin;

REVOKE ALL ON FUNCTION pem.revoke_agent(agent_id integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.revoke_agent(agent_id integer) TO pem_admin;

REVOKE ALL ON FUNCTION pem.seen_agent(agent_id integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.seen_target(target_id bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.seen_trace(trace_id bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION pem.send_command(agent_id integer, kind text, payload jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.send_command(agent_id integer, kind text, payload jsonb) TO pem_admin;

REVOKE ALL ON FUNCTION pem.set_belonging(target_id bigint, owner name, team name) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.set_belonging(target_id bigint, owner name, team name) TO pem_admin;

REVOKE ALL ON FUNCTION pem.set_login(role name, allowed boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.set_login(role name, allowed boolean) TO pem_owner;

REVOKE ALL ON FUNCTION pem.set_member(team name, member name, joined boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.set_member(team name, member name, joined boolean) TO pem_owner;

REVOKE ALL ON FUNCTION pem.set_password(username name, verifier text) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.set_password(username name, verifier text) TO pem_super_admin;

REVOKE ALL ON FUNCTION pem.set_probe_config(target_id bigint, probe text, enabled boolean, interval_ms integer, retention_days integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.set_probe_config(target_id bigint, probe text, enabled boolean, interval_ms integer, retention_days integer) TO pem_admin;

REVOKE ALL ON FUNCTION pem.set_team(username name, team name, joined boolean) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.set_team(username name, team name, joined boolean) TO pem_super_admin;

REVOKE ALL ON FUNCTION pem.set_verifier(role name, verifier text) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.set_verifier(role name, verifier text) TO pem_owner;

REVOKE ALL ON FUNCTION pem.sync(request jsonb) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.sync(request jsonb) TO pem_agent;
GRANT ALL ON FUNCTION pem.sync(request jsonb) TO pem_web;

REVOKE ALL ON FUNCTION pem.unmanaged_server(target_id bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION pem.unmanaged_server(target_id bigint) TO pem_admin;

REVOKE ALL ON FUNCTION pem.visible_targets() FROM PUBLIC;
GRANT ALL ON FUNCTION pem.visible_targets() TO pem_user;

REVOKE ALL ON FUNCTION pem_inbox.accept() FROM PUBLIC;

REVOKE ALL ON FUNCTION pem_inbox.rotate(largest_bytes bigint, oldest interval, hostage interval) FROM PUBLIC;
GRANT ALL ON FUNCTION pem_inbox.rotate(largest_bytes bigint, oldest interval, hostage interval) TO pem_ingest;

REVOKE ALL ON FUNCTION pem_inbox.unfinished(slot integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.lo_close(integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.lo_creat(integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.lo_create(oid) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.lo_from_bytea(oid, bytea) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.lo_get(oid) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.lo_get(oid, bigint, integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.lo_lseek(integer, integer, integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.lo_lseek64(integer, bigint, integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.lo_open(oid, integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.lo_put(oid, bigint, bytea) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.lo_tell(integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.lo_tell64(integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.lo_truncate(integer, integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.lo_truncate64(integer, bigint) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.lo_unlink(oid) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.loread(integer, integer) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.lowrite(integer, bytea) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.pg_advisory_lock(bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock(bigint) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock(bigint) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock(bigint) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock(bigint) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock(bigint) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_advisory_lock(integer, integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock(integer, integer) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock(integer, integer) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock(integer, integer) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock(integer, integer) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock(integer, integer) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_advisory_lock_shared(bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock_shared(bigint) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock_shared(bigint) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock_shared(bigint) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock_shared(bigint) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock_shared(bigint) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_advisory_lock_shared(integer, integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock_shared(integer, integer) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock_shared(integer, integer) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock_shared(integer, integer) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock_shared(integer, integer) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_lock_shared(integer, integer) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_advisory_unlock(bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock(bigint) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock(bigint) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock(bigint) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock(bigint) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock(bigint) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_advisory_unlock(integer, integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock(integer, integer) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock(integer, integer) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock(integer, integer) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock(integer, integer) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock(integer, integer) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_advisory_unlock_all() FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock_all() TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock_all() TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock_all() TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock_all() TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock_all() TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_advisory_unlock_shared(bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock_shared(bigint) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock_shared(bigint) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock_shared(bigint) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock_shared(bigint) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock_shared(bigint) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_advisory_unlock_shared(integer, integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock_shared(integer, integer) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock_shared(integer, integer) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock_shared(integer, integer) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock_shared(integer, integer) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_unlock_shared(integer, integer) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock(bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock(bigint) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock(bigint) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock(bigint) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock(bigint) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock(bigint) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock(integer, integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock(integer, integer) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock(integer, integer) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock(integer, integer) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock(integer, integer) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock(integer, integer) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock_shared(bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock_shared(bigint) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock_shared(bigint) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock_shared(bigint) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock_shared(bigint) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock_shared(bigint) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock_shared(integer, integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock_shared(integer, integer) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock_shared(integer, integer) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock_shared(integer, integer) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock_shared(integer, integer) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_advisory_xact_lock_shared(integer, integer) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_current_xact_id() FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.pg_export_snapshot() FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.pg_logical_emit_message(boolean, text, bytea) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.pg_logical_emit_message(boolean, text, text) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.pg_notify(text, text) FROM PUBLIC;

REVOKE ALL ON FUNCTION pg_catalog.pg_try_advisory_lock(bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock(bigint) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock(bigint) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock(bigint) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock(bigint) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock(bigint) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_try_advisory_lock(integer, integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock(integer, integer) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock(integer, integer) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock(integer, integer) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock(integer, integer) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock(integer, integer) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_try_advisory_lock_shared(bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock_shared(bigint) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock_shared(bigint) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock_shared(bigint) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock_shared(bigint) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock_shared(bigint) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_try_advisory_lock_shared(integer, integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock_shared(integer, integer) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock_shared(integer, integer) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock_shared(integer, integer) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock_shared(integer, integer) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_lock_shared(integer, integer) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock(bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock(bigint) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock(bigint) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock(bigint) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock(bigint) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock(bigint) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock(integer, integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock(integer, integer) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock(integer, integer) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock(integer, integer) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock(integer, integer) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock(integer, integer) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock_shared(bigint) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock_shared(bigint) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock_shared(bigint) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock_shared(bigint) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock_shared(bigint) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock_shared(bigint) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock_shared(integer, integer) FROM PUBLIC;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock_shared(integer, integer) TO pem_owner;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock_shared(integer, integer) TO pem_ingest;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock_shared(integer, integer) TO pem_master;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock_shared(integer, integer) TO pem_web;
GRANT ALL ON FUNCTION pg_catalog.pg_try_advisory_xact_lock_shared(integer, integer) TO pem_signer;

REVOKE ALL ON FUNCTION pg_catalog.txid_current() FROM PUBLIC;

GRANT SELECT ON TABLE pem.agent_heartbeat TO pem_master;

GRANT SELECT(agent_id) ON TABLE pem.agent_heartbeat TO pem_user;

GRANT SELECT(at) ON TABLE pem.agent_heartbeat TO pem_user;

GRANT SELECT(boot) ON TABLE pem.agent_heartbeat TO pem_user;

GRANT SELECT(arrival) ON TABLE pem.agent_heartbeat TO pem_user;

GRANT SELECT(started_at) ON TABLE pem.agent_heartbeat TO pem_user;

GRANT SELECT(info) ON TABLE pem.agent_heartbeat TO pem_user;

GRANT SELECT ON TABLE pem.host TO pem_user;
GRANT SELECT ON TABLE pem.host TO pem_ingest;
GRANT SELECT ON TABLE pem.host TO pem_master;

GRANT SELECT ON TABLE pem.agent_status TO pem_user;

GRANT SELECT ON TABLE pem.command TO pem_user;

GRANT SELECT ON TABLE pem.csr TO pem_signer;

GRANT UPDATE(certificate) ON TABLE pem.csr TO pem_signer;

GRANT UPDATE(serial) ON TABLE pem.csr TO pem_signer;

GRANT UPDATE(not_after) ON TABLE pem.csr TO pem_signer;

GRANT UPDATE(signed_at) ON TABLE pem.csr TO pem_signer;

GRANT UPDATE(refused_reason) ON TABLE pem.csr TO pem_signer;

GRANT INSERT ON TABLE pem.inbox TO pem_agent;
GRANT INSERT ON TABLE pem.inbox TO pem_web;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pem.ingest_suspect TO pem_ingest;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pem.one_time_link TO pem_web;

GRANT SELECT ON TABLE pem.probe_state TO pem_user;
GRANT SELECT,INSERT,UPDATE ON TABLE pem.probe_state TO pem_ingest;
GRANT SELECT ON TABLE pem.probe_state TO pem_master;

GRANT SELECT ON TABLE pem.registration_token TO pem_admin;

GRANT SELECT ON TABLE pem.server_status TO pem_user;

GRANT SELECT ON TABLE pem.stray TO pem_user;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pem.stray TO pem_ingest;
GRANT SELECT ON TABLE pem.stray TO pem_master;

GRANT SELECT ON TABLE pem.trace_run TO pem_user;
GRANT SELECT ON TABLE pem.trace_run TO pem_master;

GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pem.web_session TO pem_web;

GRANT SELECT ON TABLE pemdata.agent_probes TO pem_user;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pemdata.agent_probes TO pem_ingest;

GRANT SELECT ON TABLE pemdata.agent_self TO pem_user;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pemdata.agent_self TO pem_ingest;

GRANT SELECT ON TABLE pemdata.background_writer_statistics TO pem_user;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pemdata.background_writer_statistics TO pem_ingest;

GRANT SELECT ON TABLE pemdata.cpu_usage TO pem_user;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pemdata.cpu_usage TO pem_ingest;

GRANT SELECT ON TABLE pemdata.database_statistics TO pem_user;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pemdata.database_statistics TO pem_ingest;

GRANT SELECT ON TABLE pemdata.disk_busy_info TO pem_user;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pemdata.disk_busy_info TO pem_ingest;

GRANT SELECT ON TABLE pemdata.disk_space TO pem_user;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pemdata.disk_space TO pem_ingest;

GRANT SELECT ON TABLE pemdata.ingest_self TO pem_user;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pemdata.ingest_self TO pem_ingest;

GRANT SELECT ON TABLE pemdata.load_average TO pem_user;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pemdata.load_average TO pem_ingest;

GRANT SELECT ON TABLE pemdata.memory_usage TO pem_user;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pemdata.memory_usage TO pem_ingest;

GRANT SELECT ON TABLE pemdata.network_statistics TO pem_user;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pemdata.network_statistics TO pem_ingest;

GRANT SELECT ON TABLE pemdata.server_info TO pem_user;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pemdata.server_info TO pem_ingest;

GRANT SELECT ON TABLE pemdata.session_info TO pem_user;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pemdata.session_info TO pem_ingest;

GRANT SELECT ON TABLE pemdata.settings TO pem_user;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pemdata.settings TO pem_ingest;

GRANT SELECT ON TABLE pemdata.sql_trace_texts TO pem_user;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pemdata.sql_trace_texts TO pem_ingest;

GRANT SELECT ON TABLE pemdata.table_statistics TO pem_user;
GRANT SELECT,INSERT,DELETE,UPDATE ON TABLE pemdata.table_statistics TO pem_ingest;

GRANT SELECT ON TABLE pemhistory.agent_probes TO pem_user;
GRANT SELECT,INSERT ON TABLE pemhistory.agent_probes TO pem_ingest;

GRANT SELECT ON TABLE pemhistory.agent_self TO pem_user;
GRANT SELECT,INSERT ON TABLE pemhistory.agent_self TO pem_ingest;

GRANT SELECT ON TABLE pemhistory.background_writer_statistics TO pem_user;
GRANT SELECT,INSERT ON TABLE pemhistory.background_writer_statistics TO pem_ingest;

GRANT SELECT ON TABLE pemhistory.cpu_usage TO pem_user;
GRANT SELECT,INSERT ON TABLE pemhistory.cpu_usage TO pem_ingest;

GRANT SELECT ON TABLE pemhistory.database_statistics TO pem_user;
GRANT SELECT,INSERT ON TABLE pemhistory.database_statistics TO pem_ingest;

GRANT SELECT ON TABLE pemhistory.disk_busy_info TO pem_user;
GRANT SELECT,INSERT ON TABLE pemhistory.disk_busy_info TO pem_ingest;

GRANT SELECT ON TABLE pemhistory.disk_space TO pem_user;
GRANT SELECT,INSERT ON TABLE pemhistory.disk_space TO pem_ingest;

GRANT SELECT ON TABLE pemhistory.ingest_self TO pem_user;
GRANT SELECT,INSERT ON TABLE pemhistory.ingest_self TO pem_ingest;

GRANT SELECT ON TABLE pemhistory.load_average TO pem_user;
GRANT SELECT,INSERT ON TABLE pemhistory.load_average TO pem_ingest;

GRANT SELECT ON TABLE pemhistory.memory_usage TO pem_user;
GRANT SELECT,INSERT ON TABLE pemhistory.memory_usage TO pem_ingest;

GRANT SELECT ON TABLE pemhistory.network_statistics TO pem_user;
GRANT SELECT,INSERT ON TABLE pemhistory.network_statistics TO pem_ingest;

GRANT SELECT ON TABLE pemhistory.server_info TO pem_user;
GRANT SELECT,INSERT ON TABLE pemhistory.server_info TO pem_ingest;

GRANT SELECT ON TABLE pemhistory.session_info TO pem_user;
GRANT SELECT,INSERT ON TABLE pemhistory.session_info TO pem_ingest;

GRANT SELECT ON TABLE pemhistory.settings TO pem_user;
GRANT SELECT,INSERT ON TABLE pemhistory.settings TO pem_ingest;

GRANT SELECT ON TABLE pemhistory.sql_trace_events TO pem_user;
GRANT SELECT,INSERT ON TABLE pemhistory.sql_trace_events TO pem_ingest;

GRANT SELECT ON TABLE pemhistory.sql_trace_statements TO pem_user;
GRANT SELECT,INSERT ON TABLE pemhistory.sql_trace_statements TO pem_ingest;

GRANT SELECT ON TABLE pemhistory.table_statistics TO pem_user;
GRANT SELECT,INSERT ON TABLE pemhistory.table_statistics TO pem_ingest;

ALTER DEFAULT PRIVILEGES FOR ROLE pem_owner REVOKE ALL ON FUNCTIONS  FROM PUBLIC;

ALTER DEFAULT PRIVILEGES FOR ROLE pem_registrar REVOKE ALL ON FUNCTIONS  FROM PUBLIC;

