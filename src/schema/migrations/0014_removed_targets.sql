-- Latest rows of hosts and servers that were removed a month ago: no partition of theirs ever ends. Their history goes by its
-- retention; a batch that comes as late as this makes its rows anew, for the next pass.
CREATE FUNCTION pem.collect_removed() RETURNS bigint
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  gone bigint[] := ARRAY(SELECT DISTINCT p.target_id FROM pem.probe_state p JOIN pem.target t ON t.id = p.target_id
                          WHERE t.deleted_at < now() - interval '30 days' LIMIT 100);
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
END $$;

DO $$
DECLARE
  text text := pg_get_functiondef('pem.collect_garbage()'::regprocedure);
  before CONSTANT text := $sql$RETURN done || jsonb_build_object('tokens', n);$sql$;
BEGIN
  IF strpos(text, before) = 0 THEN
    RAISE EXCEPTION 'pem.collect_garbage is not as this migration knows it';
  END IF;
  EXECUTE replace(text, before, $sql$RETURN done || jsonb_build_object('tokens', n, 'latest', pem.collect_removed());$sql$);
END $$;
