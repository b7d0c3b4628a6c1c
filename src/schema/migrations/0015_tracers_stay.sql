-- A web server that traces is an agent whose host nobody watches: its host target is deleted from its first moment. It is no
-- agent that has left: super administrators see it, what it is asked wrongly is refused with the reason, and its latest
-- rows stay.
CREATE OR REPLACE FUNCTION pem.seen_agent(agent_id int) RETURNS pem.agent
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE VIEW pem.agent_status WITH (security_invoker = true) AS
SELECT a.id AS agent_id, a.display_name, a.host_target_id AS target_id,
       CASE WHEN h.at IS NULL THEN 'unknown'
            WHEN NOT a.active OR h.at < now() - interval '10 s' THEN 'down' ELSE 'up' END AS status,
       h.at AS last_seen, h.boot, h.started_at, a.version, a.active, a.quarantined_reason, a.registered_at, a.cert_not_after,
       t.owner, t.team, o.hostname, o.os, o.kernel, o.cpus, o.memory_bytes, o.booted_at, coalesce(h.info, '{}') AS info
  FROM pem.agent a
  JOIN pem.target t ON t.id = a.host_target_id AND (t.deleted_at IS NULL OR a.instance IS NOT NULL)
  LEFT JOIN pem.host o ON o.target_id = a.host_target_id
  LEFT JOIN pem.agent_heartbeat h ON h.agent_id = a.id;

DO $$
DECLARE
  text text := pg_get_functiondef('pem.collect_removed()'::regprocedure);
  before CONSTANT text := 'WHERE t.deleted_at < now() - interval ''30 days'' LIMIT 100';
BEGIN
  IF strpos(text, before) = 0 THEN
    RAISE EXCEPTION 'pem.collect_removed is not as this migration knows it';
  END IF;
  EXECUTE replace(text, before, 'WHERE t.deleted_at < now() - interval ''30 days''
                            AND NOT EXISTS (SELECT FROM pem.agent a WHERE a.host_target_id = t.id AND a.instance IS NOT NULL) LIMIT 100');
END $$;

DO $$
DECLARE
  text text := pg_get_functiondef('pem.remove_agent(int)'::regprocedure);
  before CONSTANT text := '  SELECT count(*) INTO watched FROM';
BEGIN
  IF strpos(text, before) = 0 THEN
    RAISE EXCEPTION 'pem.remove_agent is not as this migration knows it';
  END IF;
  EXECUTE replace(text, before, $sql$  IF it.instance IS NOT NULL THEN
    RAISE EXCEPTION 'agent % is a web server: it traces for as long as that runs', it.id USING ERRCODE = 'PE022';
  END IF;
$sql$ || before);
END $$;
