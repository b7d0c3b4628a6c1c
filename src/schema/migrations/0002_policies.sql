-- Who sees what. The text of every policy stands in this file: pem.sees() says who sees a target, pem.guard() puts
-- the policy on a table (also called for each table of a probe). All policies are FOR SELECT: users write by functions.

-- A team whose role was dropped is no error and no right: to_regrole gives NULL. No sub-select in it, so that the
-- planner inlines it (4,000 targets: 4 to 8 ms a query). USAGE, not MEMBER: pem_web is a member of all its users and must see nothing as itself.
CREATE FUNCTION pem.sees(who name, owner name, team name) RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
RETURN owner = who
    OR pg_catalog.pg_has_role(who, 'pem_super_admin', 'USAGE')
    OR coalesce(pg_catalog.pg_has_role(who, pg_catalog.to_regrole(pg_catalog.quote_ident(team::text))::oid, 'USAGE'), false);
GRANT EXECUTE ON FUNCTION pem.sees(name, name, name) TO pem_user, pem_master, pem_signer;

-- `via`: 'target' (target_id names one), 'agent' (agent_id names one), 'latest' (target, rows that are gone hidden).
CREATE FUNCTION pem.guard(relation regclass, via text, column_name name DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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

ALTER TABLE pem.target ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON pem.target FOR SELECT TO pem_user USING (pem.sees(current_user, owner, team));
ALTER TABLE pem.registration_token ENABLE ROW LEVEL SECURITY;
CREATE POLICY visible ON pem.registration_token FOR SELECT TO pem_user USING (pem.sees(current_user, owner, team));

SELECT pem.guard('pem.agent', 'target', 'host_target_id');
SELECT pem.guard(name::regclass, 'target')
  FROM unnest(ARRAY['pem.host', 'pem.server', 'pem.target_agent', 'pem.probe_config', 'pem.probe_state', 'pem.stray']) AS name;
SELECT pem.guard(name::regclass, 'agent')
  FROM unnest(ARRAY['pem.agent_heartbeat', 'pem.received', 'pem.csr', 'pem.command']) AS name;
-- Nobody but owner, ingest and agent 1 has SELECT here; policies all the same.
SELECT pem.guard('pem.quarantine', 'agent');

GRANT SELECT ON pem.config, pem.probe TO pem_user, pem_web, pem_ingest, pem_master, pem_signer;
GRANT SELECT ON pem.target, pem.host, pem.server, pem.agent, pem.target_agent, pem.probe_config,
  pem.probe_state, pem.stray, pem.command TO pem_user;
-- Not its column servers: who sees an agent's host need not see the servers it watches.
GRANT SELECT (agent_id, at, boot, arrival, started_at, info) ON pem.agent_heartbeat TO pem_user;
-- Which batches a snapshot of latest covers: for whoever sees a target the agent has reported for.
GRANT SELECT (agent_id, boot, arrival, ranges) ON pem.received TO pem_user;
CREATE POLICY reports ON pem.received FOR SELECT TO pem_user
  USING (agent_id IN (SELECT r.agent_id FROM pem.target_agent r));
GRANT SELECT ON pem.registration_token TO pem_admin;
GRANT SELECT ON pem.ingester TO pem_super_admin;

-- Ingest: exempt from policies, so its grants are its limits.
GRANT SELECT ON pem.target, pem.target_agent, pem.agent, pem.probe_config, pem.server, pem.host TO pem_ingest;
GRANT SELECT, INSERT, UPDATE ON pem.received, pem.probe_state TO pem_ingest;
GRANT SELECT, INSERT, UPDATE, DELETE ON pem.quarantine, pem.stray, pem.ingester TO pem_ingest;
GRANT USAGE ON SEQUENCE pem.arrival_seq TO pem_ingest;

-- Agent 1's duties: it reads what it watches over.
GRANT SELECT ON pem.target, pem.host, pem.server, pem.agent, pem.target_agent, pem.agent_heartbeat, pem.probe_config,
  pem.probe_state, pem.received, pem.stray, pem.ingester TO pem_master;
GRANT SELECT (id, at, agent_id, boot, seq, block_index, target_id, probe, probe_version, code, reason, state)
  ON pem.quarantine TO pem_master;
DO $$
DECLARE name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['target', 'host', 'server', 'agent', 'target_agent', 'agent_heartbeat', 'probe_config',
    'probe_state', 'received', 'stray', 'quarantine'] LOOP
    EXECUTE format('CREATE POLICY master ON pem.%I FOR SELECT TO pem_master USING (true)', name);
  END LOOP;
END $$;

-- The signer: it reads requests, writes the answer, and learns who is revoked (for the CRL).
GRANT SELECT, UPDATE (certificate, serial, not_after, signed_at, refused_reason) ON pem.csr TO pem_signer;
GRANT SELECT (id, role, display_name, active, revoked_at) ON pem.agent TO pem_signer;
CREATE POLICY signer ON pem.csr FOR ALL TO pem_signer USING (true);
CREATE POLICY signer ON pem.agent FOR SELECT TO pem_signer USING (true);

-- The web programs as themselves: sessions and links, nothing of the fleet.
GRANT SELECT, INSERT, UPDATE, DELETE ON pem.web_session, pem.one_time_link TO pem_web;
