-- The one part that needs a superuser: roles, privileges of the database, and what PUBLIC loses in it. Idempotent: run
-- at installation and again by `pem init` after an upgrade. Works on PostgreSQL 15 (CREATEROLE may grant any role) and
-- 16+ (it needs ADMIN on each). src/schema/ROLES.md says what each role is for and what cannot be revoked.

DO $$
DECLARE
  wanted record;
  listed text;
  others text;
BEGIN
  FOR wanted IN SELECT * FROM (VALUES
    ('pem_owner',       'NOLOGIN NOINHERIT'),
    ('pem_history',     'NOLOGIN'),
    ('pem_ingest',      'LOGIN BYPASSRLS'),
    ('pem_web',         'LOGIN NOINHERIT'),
    ('pem_registrar',   'NOLOGIN CREATEROLE'),
    ('pem_signer',      'LOGIN'),
    ('pem_master',      'LOGIN'),
    ('pem_agent',       'NOLOGIN'),
    ('pem_registering', 'NOLOGIN'),
    ('pem_team',        'NOLOGIN'),
    ('pem_user',        'NOLOGIN'),
    ('pem_admin',       'NOLOGIN'),
    ('pem_super_admin', 'NOLOGIN')) AS v(name, attributes)
  LOOP
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = wanted.name) THEN
      EXECUTE pg_catalog.format('CREATE ROLE %I %s', wanted.name, wanted.attributes);
    END IF;
    IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = wanted.name) THEN
      RAISE EXCEPTION 'role % is a superuser; PEM''s roles must not be', wanted.name USING ERRCODE = 'PE010';
    END IF;
  END LOOP;

  GRANT pem_user TO pem_admin;
  GRANT pem_admin TO pem_super_admin;

  -- The owner makes and alters history tables; ingesters attach partitions, agent 1 detaches them.
  -- (DETACH CONCURRENTLY cannot run in a function, so ownership is granted as a narrow role of its own.)
  GRANT pem_history TO pem_ingest, pem_master;
  IF pg_catalog.current_setting('server_version_num')::int >= 160000 THEN
    EXECUTE 'GRANT pem_history TO pem_owner WITH INHERIT TRUE, SET TRUE';
    EXECUTE 'GRANT pg_signal_backend, pg_read_all_stats TO pem_owner WITH INHERIT TRUE';
    EXECUTE 'GRANT pem_agent, pem_registering, pem_team, pem_user, pem_admin, pem_super_admin TO pem_registrar
      WITH ADMIN TRUE, INHERIT FALSE, SET FALSE';
  ELSE
    ALTER ROLE pem_owner INHERIT;
    GRANT pem_history, pg_signal_backend, pg_read_all_stats TO pem_owner;
  END IF;

  EXECUTE pg_catalog.format('REVOKE ALL ON DATABASE %I FROM PUBLIC', pg_catalog.current_database());
  EXECUTE pg_catalog.format('GRANT CONNECT, CREATE, TEMPORARY ON DATABASE %I TO pem_owner', pg_catalog.current_database());
  EXECUTE pg_catalog.format('GRANT CONNECT, TEMPORARY ON DATABASE %I TO pem_ingest', pg_catalog.current_database());
  EXECUTE pg_catalog.format(
    'GRANT CONNECT ON DATABASE %I TO pem_web, pem_signer, pem_master, pem_agent, pem_registering, pem_user',
    pg_catalog.current_database());
  EXECUTE pg_catalog.format('ALTER DATABASE %I SET timezone = %L', pg_catalog.current_database(), 'UTC');

  -- Agents and users cannot raise it (SUSET), so that no query of theirs fills the disk; the operator's own value stays.
  IF NOT EXISTS (
    SELECT FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase
     WHERE d.datname = pg_catalog.current_database() AND s.setrole = 0 AND s.setconfig::text LIKE '%temp_file_limit=%') THEN
    EXECUTE pg_catalog.format('ALTER DATABASE %I SET temp_file_limit = %L', pg_catalog.current_database(), '1GB');
  END IF;

  -- The databases that every cluster has; others are the operator's (installSchema names those left open).
  FOR others IN SELECT datname FROM pg_catalog.pg_database
                 WHERE datname IN ('postgres', 'template1') AND datname <> pg_catalog.current_database()
  LOOP
    EXECUTE pg_catalog.format('REVOKE CONNECT, TEMPORARY ON DATABASE %I FROM PUBLIC', others);
  END LOOP;

  REVOKE ALL ON SCHEMA public FROM PUBLIC;
  REVOKE ALL ON LANGUAGE plpgsql, sql FROM PUBLIC;
  GRANT USAGE ON LANGUAGE plpgsql, sql TO pem_owner;

  -- Large objects, advisory locks, and what writes WAL, burns transaction ids or pins snapshots without a table.
  SELECT pg_catalog.string_agg(oid::pg_catalog.regprocedure::text, ', ') INTO listed FROM pg_catalog.pg_proc
   WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace
     AND (proname ~ '^lo_' OR proname IN ('loread', 'lowrite', 'pg_logical_emit_message', 'pg_export_snapshot',
          'pg_notify', 'pg_current_xact_id', 'txid_current'));
  EXECUTE 'REVOKE ALL ON FUNCTION ' || listed || ' FROM PUBLIC';
  SELECT pg_catalog.string_agg(oid::pg_catalog.regprocedure::text, ', ') INTO listed FROM pg_catalog.pg_proc
   WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace AND proname ~ 'advisory_(xact_)?(un)?lock';
  EXECUTE 'REVOKE ALL ON FUNCTION ' || listed || ' FROM PUBLIC';
  EXECUTE 'GRANT EXECUTE ON FUNCTION ' || listed || ' TO pem_owner, pem_ingest, pem_master, pem_web, pem_signer';
END $$;

CREATE SCHEMA IF NOT EXISTS pem AUTHORIZATION pem_owner;
GRANT USAGE ON SCHEMA pem
  TO pem_user, pem_web, pem_ingest, pem_master, pem_signer, pem_agent, pem_registering, pem_registrar;
ALTER DEFAULT PRIVILEGES FOR ROLE pem_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
ALTER DEFAULT PRIVILEGES FOR ROLE pem_registrar REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
