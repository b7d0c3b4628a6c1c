-- The inbox: an agent's only way to write. COPY pem.inbox (batch) FROM STDIN BINARY, one row one batch.
-- In: bytes; out: rows of the active slot for ingesters. Full: PE001, the agent's spool keeps the batch and comes again.
--
-- 1. A row is written into whichever slot the hint in pem_inbox.state names. A stale hint is harmless: every slot is
--    read by ingesters, and a slot is emptied only under ACCESS EXCLUSIVE and only when every row of it is finished.
-- 2. Finished: its (agent, boot, seq) is in pem.received, or its id stands in pem.quarantine. Both are committed facts.
-- 3. Slots are UNLOGGED: a crash of PostgreSQL empties them, and agents send again what pem.received does not hold.
-- 4. ids are handed out before commit: a smaller id may become visible after a larger one, so an id is no cursor.

CREATE SEQUENCE pem_inbox.id_seq;
CREATE TABLE pem_inbox.state (
  one boolean PRIMARY KEY DEFAULT true CHECK (one),
  active int NOT NULL DEFAULT 0 CHECK (active BETWEEN 0 AND 3),
  switched_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO pem_inbox.state DEFAULT VALUES;

DO $$
BEGIN
  FOR n IN 0..3 LOOP
    EXECUTE format('CREATE UNLOGGED TABLE pem_inbox.slot_%s (
        id bigint PRIMARY KEY DEFAULT nextval(''pem_inbox.id_seq''),
        arrived_at timestamptz NOT NULL DEFAULT clock_timestamp(),
        agent_id int NOT NULL, boot uuid NOT NULL, seq bigint NOT NULL, bytes int NOT NULL,
        batch bytea NOT NULL) WITH (autovacuum_enabled = off)', n);
    EXECUTE format('CREATE INDEX slot_%s_agent ON pem_inbox.slot_%s (agent_id)', n, n);
    EXECUTE format('ALTER TABLE pem_inbox.slot_%s ALTER COLUMN batch SET STORAGE EXTERNAL', n);
    EXECUTE format('GRANT SELECT, DELETE ON pem_inbox.slot_%s TO pem_ingest', n);
  END LOOP;
END $$;

-- Claims of a batch's head (boot, seq) are copied beside it for the backlog and for rotation; ingest verifies them.
CREATE VIEW pem_inbox.slots WITH (security_invoker = true) AS
            SELECT 0 AS slot, * FROM pem_inbox.slot_0
  UNION ALL SELECT 1, * FROM pem_inbox.slot_1
  UNION ALL SELECT 2, * FROM pem_inbox.slot_2
  UNION ALL SELECT 3, * FROM pem_inbox.slot_3;
GRANT SELECT ON pem_inbox.slots TO pem_ingest;

CREATE VIEW pem.inbox WITH (security_invoker = true) AS SELECT NULL::bytea AS batch WHERE false;
GRANT INSERT ON pem.inbox TO pem_agent;

CREATE FUNCTION pem_inbox.accept() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
  SELECT * INTO me FROM pem.agent WHERE role = session_user;
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
CREATE TRIGGER accept INSTEAD OF INSERT ON pem.inbox FOR EACH ROW EXECUTE FUNCTION pem_inbox.accept();

CREATE FUNCTION pem_inbox.unfinished(slot int) RETURNS boolean
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE answer boolean;
BEGIN
  EXECUTE format('SELECT EXISTS (SELECT FROM pem_inbox.slot_%s s
     WHERE NOT EXISTS (SELECT FROM pem.received r WHERE r.agent_id = s.agent_id AND r.boot = s.boot AND r.ranges @> s.seq)
       AND NOT EXISTS (SELECT FROM pem.quarantine q WHERE q.inbox_id = s.id))', slot) INTO answer;
  RETURN answer;
END $$;

-- Empties at most one finished slot, then moves the hint when the active slot is large or old enough. Several ingesters
-- may call it; one works, the others learn {"busy": true}. Also ends sessions of agents that hold a slot hostage.
CREATE FUNCTION pem_inbox.rotate(largest_bytes bigint DEFAULT 33554432, oldest interval DEFAULT '2 s',
  hostage interval DEFAULT '30 s') RETURNS jsonb
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' AS $$
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
GRANT EXECUTE ON FUNCTION pem_inbox.rotate(bigint, interval, interval) TO pem_ingest;
