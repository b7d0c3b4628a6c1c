-- An agent whose host is gone leaves the lists. Its rows stay until their retention, its id is never used again.
CREATE OR REPLACE FUNCTION pem.seen_agent(agent_id int) RETURNS pem.agent
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  found_agent pem.agent;
BEGIN
  SELECT a.* INTO found_agent FROM pem.agent a JOIN pem.target t ON t.id = a.host_target_id
   WHERE a.id = seen_agent.agent_id AND t.deleted_at IS NULL AND pem.sees(pem.invoker(), t.owner, t.team);
  IF NOT FOUND THEN
    RAISE EXCEPTION 'there is no agent %', seen_agent.agent_id USING ERRCODE = 'PE021';
  END IF;
  RETURN found_agent;
END $$;

CREATE OR REPLACE VIEW pem.agent_status WITH (security_invoker = true) AS
SELECT a.id AS agent_id, a.display_name, a.host_target_id AS target_id,
       CASE WHEN h.at IS NULL THEN 'unknown'
            WHEN NOT a.active OR h.at < now() - interval '10 s' THEN 'down' ELSE 'up' END AS status,
       h.at AS last_seen, h.boot, h.started_at, a.version, a.active, a.quarantined_reason, a.registered_at, a.cert_not_after,
       t.owner, t.team, o.hostname, o.os, o.kernel, o.cpus, o.memory_bytes, o.booted_at, coalesce(h.info, '{}') AS info
  FROM pem.agent a
  JOIN pem.target t ON t.id = a.host_target_id AND t.deleted_at IS NULL
  LEFT JOIN pem.host o ON o.target_id = a.host_target_id
  LEFT JOIN pem.agent_heartbeat h ON h.agent_id = a.id;

-- How many servers it still watches is said, not which: the invoker need not see them.
CREATE FUNCTION pem.remove_agent(agent_id int) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  it pem.agent := pem.seen_agent(remove_agent.agent_id);
  watched int;
BEGIN
  IF it.id::text = (SELECT c.value FROM pem.config c WHERE c.param = 'master_agent') THEN
    RAISE EXCEPTION 'agent % looks after PEM itself and cannot be removed', it.id USING ERRCODE = 'PE022';
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
GRANT EXECUTE ON FUNCTION pem.remove_agent(int) TO pem_admin;

-- Boots are bounded by the day, not for ever: a worker that dies at its start for three weeks had used up 50,000, and could
-- never report again.
DO $$
DECLARE
  text text := (SELECT pg_get_functiondef(p.oid) FROM pg_proc p
                 WHERE p.pronamespace = 'pem'::regnamespace AND p.prosrc LIKE '%most\_boots\_ever%');
  change text[];
BEGIN
  FOREACH change SLICE 1 IN ARRAY ARRAY[
    ['most_boots_ever CONSTANT bigint := 50000;', 'most_boots_a_day CONSTANT bigint := 10000;'],
    ['WHERE r.agent_id = me.id) + cardinality(boots) - known > most_boots_ever THEN',
     'WHERE r.agent_id = me.id AND r.first_at > asked_at - interval ''1 day'') + cardinality(boots) - known > most_boots_a_day THEN'],
    ['has announced too many boots', 'has announced too many boots today']]
  LOOP
    IF coalesce(strpos(text, change[1]), 0) = 0 THEN
      RAISE EXCEPTION 'pem.sync is not as this migration knows it';
    END IF;
    text := replace(text, change[1], change[2]);
  END LOOP;
  EXECUTE text;
END $$;
