-- Registration, certificates and the end of an agent. Roles are made by pem_registrar's functions (registrar.sql).
-- Codes: PE020 may not, PE021 not yours, PE022 wrong argument, PE023 token used or expired.

-- Who asks: the role set by SET ROLE, else the session's. In a SECURITY DEFINER function current_user is the owner.
CREATE FUNCTION pem.invoker() RETURNS name
LANGUAGE sql STABLE
RETURN CASE pg_catalog.current_setting('role') WHEN 'none' THEN session_user
            ELSE pg_catalog.current_setting('role')::pg_catalog.name END;

-- Ends a role's sessions but this one, and waits: what they had locked is free when it returns.
CREATE FUNCTION pem.end_sessions(role name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  -- pg_stat_activity shows the same picture for a whole transaction.
  PERFORM pg_stat_clear_snapshot();
  PERFORM pg_terminate_backend(s.pid, 2000) FROM pg_stat_activity s
    WHERE s.usename = end_sessions.role AND s.pid <> pg_backend_pid();
END $$;

-- Locks an agent's row for a change. The agent locks it too (pem.sync, pem.renew_certificate), for as long as it likes to
-- keep its transaction open: it is waited for a second, then its sessions are ended. Signer, ingesters and administrators
-- never wait for an agent.
CREATE FUNCTION pem.lock_agent(agent_id int) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
BEGIN
  PERFORM FROM pem.agent a WHERE a.id = lock_agent.agent_id FOR NO KEY UPDATE;
EXCEPTION WHEN lock_not_available THEN
  PERFORM pem.end_sessions(a.role) FROM pem.agent a WHERE a.id = lock_agent.agent_id;
  PERFORM FROM pem.agent a WHERE a.id = lock_agent.agent_id FOR NO KEY UPDATE;
END $$;

-- An owner or a team that somebody may put on a thing: themselves and their teams, anything for a super admin.
CREATE FUNCTION pem.check_belonging(who name, owner name, team name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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

-- The caller (TypeScript: createToken) makes the secret and its SCRAM verifier; the secret never reaches the server.
CREATE FUNCTION pem.create_token(display_name text, owner name, team name, ttl interval, verifier text)
RETURNS TABLE (id bigint, role name, expires_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
GRANT EXECUTE ON FUNCTION pem.create_token(text, name, name, interval, text) TO pem_admin;

-- A moment in µs as an agent says it: what is beyond the year 3000 (or infinite) is no moment, and would break whoever
-- turns it back into µs.
CREATE FUNCTION pem.moment(us text) RETURNS timestamptz
LANGUAGE sql IMMUTABLE
RETURN CASE WHEN us::float8 BETWEEN 0 AND 32503680000000000::float8 THEN pg_catalog.to_timestamp(us::float8 / 1e6) END;

-- Called in the session of a token's role. facts: {version, hostname, os, kernel, cpus, memoryBytes, bootedAtUs}.
CREATE FUNCTION pem.register(csr text, facts jsonb) RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
GRANT EXECUTE ON FUNCTION pem.register(text, jsonb) TO pem_registering;

-- NULL until it is signed; with the answer the token's role loses its login. A refusal is an error.
CREATE FUNCTION pem.registered_certificate(csr_id bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
GRANT EXECUTE ON FUNCTION pem.registered_certificate(bigint) TO pem_registering;

-- At most one open request an agent: a second one replaces it.
CREATE FUNCTION pem.renew_certificate(csr text) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
GRANT EXECUTE ON FUNCTION pem.renew_certificate(text) TO pem_agent;

CREATE FUNCTION pem.certificate(csr_id bigint) RETURNS text
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
GRANT EXECUTE ON FUNCTION pem.certificate(bigint) TO pem_agent;

-- The signer's answer is final, and the agent's row tells which certificate is its newest.
CREATE FUNCTION pem.note_certificate() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF OLD.certificate IS NOT NULL THEN
    RAISE EXCEPTION 'request % is answered', OLD.id USING ERRCODE = 'PE022';
  END IF;
  PERFORM pem.lock_agent(NEW.agent_id);
  UPDATE pem.agent SET cert_serial = NEW.serial, cert_not_after = NEW.not_after WHERE id = NEW.agent_id;
  RETURN NEW;
END $$;
CREATE TRIGGER note_certificate BEFORE UPDATE OF certificate, serial, not_after ON pem.csr
  FOR EACH ROW EXECUTE FUNCTION pem.note_certificate();

CREATE FUNCTION pem.seen_agent(agent_id int) RETURNS pem.agent
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found_agent pem.agent;
BEGIN
  SELECT a.* INTO found_agent FROM pem.agent a JOIN pem.target t ON t.id = a.host_target_id
   WHERE a.id = seen_agent.agent_id AND pem.sees(pem.invoker(), t.owner, t.team);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no agent %', seen_agent.agent_id USING ERRCODE = 'PE021';
  END IF;
  RETURN found_agent;
END $$;

-- Revocation: no login from now on, running sessions ended, the serial on the CRL at the signer's next round.
CREATE FUNCTION pem.revoke_agent(agent_id int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
GRANT EXECUTE ON FUNCTION pem.revoke_agent(int) TO pem_admin;

-- Called by ingest for (boot, seq) with another checksum, and by pem.sync for boots that alternate.
CREATE FUNCTION pem.quarantine_agent(agent_id int, reason text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pem.lock_agent(quarantine_agent.agent_id);
  UPDATE pem.agent a SET quarantined_reason = left(reason, 500)
   WHERE a.id = quarantine_agent.agent_id AND a.quarantined_reason IS NULL;
END $$;
GRANT EXECUTE ON FUNCTION pem.quarantine_agent(int, text) TO pem_ingest;

CREATE FUNCTION pem.release_agent(agent_id int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  it pem.agent := pem.seen_agent(release_agent.agent_id);
BEGIN
  PERFORM pem.lock_agent(it.id);
  UPDATE pem.agent a SET quarantined_reason = NULL WHERE a.id = it.id;
  -- Whichever copy was kept may go on, also the older one.
  DELETE FROM pem.agent_heartbeat h WHERE h.agent_id = it.id;
END $$;
GRANT EXECUTE ON FUNCTION pem.release_agent(int) TO pem_admin;

-- Called by ingest for boots that came without being announced. A boot whose announcement hangs in an open transaction of
-- its agent is not waited for: that session is ended, and the next call succeeds.
CREATE FUNCTION pem.admit_boots(agent_ids int[], boots uuid[]) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100ms' AS $$
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
GRANT EXECUTE ON FUNCTION pem.admit_boots(int[], uuid[]) TO pem_ingest;
