-- Index advice for traces: asked of the agent by a command, since it has no rows and no schedule. The command's payload holds
-- statements of a server and its result names that server's tables, so both are for those who see the server, and for them
-- alone: who sees an agent's host need not see the server, nor the other way round.
CREATE POLICY advice ON pem.command FOR SELECT TO pem_user
  USING (CASE WHEN kind = 'advise_indexes' THEN (payload ->> 'targetId')::bigint IN (SELECT t.id FROM pem.target t) ELSE false END);
CREATE POLICY advice_alone ON pem.command AS RESTRICTIVE FOR SELECT TO pem_user
  USING (CASE WHEN kind = 'advise_indexes' THEN (payload ->> 'targetId')::bigint IN (SELECT t.id FROM pem.target t) ELSE true END);

-- The statements are those of a trace that the invoker sees: the web server reads them in his role. A request that still
-- waits for its result is given again.
CREATE FUNCTION pem.request_advice(trace_id bigint, request jsonb) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
GRANT EXECUTE ON FUNCTION pem.request_advice(bigint, jsonb) TO pem_admin;

-- As in 0006; advice has a door of its own.
CREATE OR REPLACE FUNCTION pem.send_command(agent_id int, kind text, payload jsonb) RETURNS bigint
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
