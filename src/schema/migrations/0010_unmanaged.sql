-- Servers without an agent: known to users, traced by a web server over a user's own connection (src/tracer). The password
-- is in the web server's memory alone; here stands who is connected through which web server.
--
-- 1. A web server that traces is an agent of its own: a row with ids from 2,000,000,000 on, made when it first traces, kept
--    with its folder. It says who it is by the setting pem.tracer, which counts in sessions of pem_web alone; inbox,
--    received set, bindings and sync are those of every agent.
-- 2. A server without an agent is bound to the web server through which somebody is connected to it, one at a time.
-- 3. Its traces are changed by those who are connected, and bounded: their limits must hold while nobody is.

ALTER TABLE pem.server ADD COLUMN managed boolean NOT NULL DEFAULT true;
COMMENT ON COLUMN pem.server.managed IS 'false: no agent watches it; users connect to it through a web server.';
ALTER TABLE pem.agent ADD COLUMN instance uuid UNIQUE;
COMMENT ON COLUMN pem.agent.instance IS 'Of a web server that traces: the folder it keeps its state in. It has no role of PostgreSQL.';

CREATE SEQUENCE pem.tracer_seq AS int MINVALUE 2000000000 START 2000000000;

CREATE TABLE pem.server_connection (
  target_id bigint NOT NULL REFERENCES pem.target,
  username name NOT NULL,
  agent_id int NOT NULL REFERENCES pem.agent,
  since timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (target_id, username)
);
COMMENT ON TABLE pem.server_connection IS 'Who is connected to servers without an agent, and through which web server.';
SELECT pem.guard('pem.server_connection', 'target');
GRANT SELECT ON pem.server_connection TO pem_user;

-- Who reports: the session's role, or the name that a web server gave itself.
CREATE FUNCTION pem.reporter() RETURNS name
LANGUAGE sql STABLE
RETURN CASE WHEN session_user <> 'pem_web' THEN session_user
            WHEN pg_catalog.current_setting('pem.tracer', true) ~ '^tracer[0-9]+$'
              THEN pg_catalog.current_setting('pem.tracer', true)::pg_catalog.name END;

-- The two doors of agents ask for the reporter from now on; nothing else in them changes.
DO $$
DECLARE
  door record;
  text text;
BEGIN
  FOR door IN SELECT * FROM (VALUES
      ('pem.sync(jsonb)'::regprocedure, 'pem.agent a WHERE a.role = session_user;', 'pem.agent a WHERE a.role = pem.reporter();'),
      ('pem_inbox.accept()', 'pem.agent WHERE role = session_user;', 'pem.agent WHERE role = pem.reporter();')) AS v(function, before, after)
  LOOP
    text := pg_get_functiondef(door.function);
    IF strpos(text, door.before) = 0 THEN
      RAISE EXCEPTION '% is not as this migration knows it', door.function;
    END IF;
    EXECUTE replace(text, door.before, door.after);
  END LOOP;
END $$;
GRANT INSERT ON pem.inbox TO pem_web;
GRANT EXECUTE ON FUNCTION pem.sync(jsonb) TO pem_web;

-- The agent that a web server's folder is. What it said before of who is connected is over: it has just started.
CREATE FUNCTION pem.be_tracer(instance uuid, hostname text) RETURNS int
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
GRANT EXECUTE ON FUNCTION pem.be_tracer(uuid, text) TO pem_web;

-- A host is a name or an address: a path would be a socket beside the web server, where PostgreSQL may take its user for
-- somebody else's; a list could hide one.
CREATE FUNCTION pem.add_unmanaged_server(name text, host text, port int, database text, username text, sslmode text,
  owner name, team name) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

-- One that the invoker sees, for who may connect to it or remove it.
CREATE FUNCTION pem.unmanaged_server(target_id bigint) RETURNS pem.server
LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

-- Called by a web server, in the role of a user whose password that server has just taken.
CREATE FUNCTION pem.hold_server(target_id bigint, agent_id int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
GRANT EXECUTE ON FUNCTION pem.add_unmanaged_server(text, text, int, text, text, text, name, name),
  pem.unmanaged_server(bigint), pem.hold_server(bigint, int) TO pem_admin;

CREATE FUNCTION pem.release_server(agent_id int, target_id bigint, username name) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  DELETE FROM pem.server_connection c WHERE c.agent_id = release_server.agent_id AND c.target_id = release_server.target_id
    AND c.username = release_server.username;
END;
GRANT EXECUTE ON FUNCTION pem.release_server(int, bigint, name) TO pem_web;

-- An agent takes over a server by pem.move_server; web servers get none that way.
CREATE FUNCTION pem.note_binding() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
CREATE TRIGGER note_binding BEFORE INSERT ON pem.target_agent FOR EACH ROW EXECUTE FUNCTION pem.note_binding();

-- Traces of a server without an agent: changed by who is connected, and bounded.
CREATE FUNCTION pem.bound_unmanaged_trace() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
CREATE TRIGGER bound_unmanaged BEFORE INSERT OR UPDATE OF request_seq, deleted_at ON pem.trace
  FOR EACH ROW EXECUTE FUNCTION pem.bound_unmanaged_trace();

-- A web server runs no commands: they would be somebody else's on a user's connection.
CREATE FUNCTION pem.refuse_tracer_command() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM pem.agent a WHERE a.id = NEW.agent_id AND a.instance IS NOT NULL) THEN
    RAISE EXCEPTION 'this needs an agent: the server has none, it is traced by a web server' USING ERRCODE = 'PE022';
  END IF;
  RETURN NEW;
END $$;
CREATE TRIGGER no_tracer_command BEFORE INSERT ON pem.command FOR EACH ROW EXECUTE FUNCTION pem.refuse_tracer_command();
