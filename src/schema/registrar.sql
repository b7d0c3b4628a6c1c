-- The only doors to CREATEROLE: five functions owned by pem_registrar, EXECUTE for pem_owner alone, each narrow enough
-- that a fault in one of PEM's own functions cannot make or alter a role outside PEM. Run by the superuser of the
-- installation (pem_owner is no member of pem_registrar and cannot replace them).

-- kind: agent | registering | team | pem_user | pem_admin | pem_super_admin. A verifier, never a password: SCRAM only.
CREATE OR REPLACE FUNCTION pem.make_role(kind text, role name, verifier text, valid_until timestamptz) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

CREATE OR REPLACE FUNCTION pem.set_login(role name, allowed boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (
    SELECT FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid JOIN pg_roles r ON r.oid = m.member
     WHERE r.rolname = role AND NOT r.rolsuper AND r.rolname !~ '^pem_'
       AND g.rolname IN ('pem_agent', 'pem_registering', 'pem_user', 'pem_admin', 'pem_super_admin')) THEN
    RAISE EXCEPTION '"%" is no agent, token or user of PEM', role USING ERRCODE = 'PE012';
  END IF;
  EXECUTE format('ALTER ROLE %I %s', role, CASE WHEN allowed THEN 'LOGIN' ELSE 'NOLOGIN' END);
END $$;

CREATE OR REPLACE FUNCTION pem.drop_token_role(role name) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF role ~ '^reg_[1-9][0-9]{0,17}$' THEN
    EXECUTE format('DROP ROLE IF EXISTS %I', role);
  END IF;
END $$;

CREATE OR REPLACE FUNCTION pem.set_member(team name, member name, joined boolean) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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

CREATE OR REPLACE FUNCTION pem.set_verifier(role name, verifier text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
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
END $$;

ALTER FUNCTION pem.make_role(text, name, text, timestamptz) OWNER TO pem_registrar;
ALTER FUNCTION pem.set_login(name, boolean) OWNER TO pem_registrar;
ALTER FUNCTION pem.drop_token_role(name) OWNER TO pem_registrar;
ALTER FUNCTION pem.set_member(name, name, boolean) OWNER TO pem_registrar;
ALTER FUNCTION pem.set_verifier(name, text) OWNER TO pem_registrar;
REVOKE ALL ON FUNCTION pem.make_role(text, name, text, timestamptz), pem.set_login(name, boolean),
  pem.drop_token_role(name), pem.set_member(name, name, boolean), pem.set_verifier(name, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pem.make_role(text, name, text, timestamptz), pem.set_login(name, boolean),
  pem.drop_token_role(name), pem.set_member(name, name, boolean), pem.set_verifier(name, text) TO pem_owner;
