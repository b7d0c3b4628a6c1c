-- What becomes of users after they were made: back in, and a new password. Role names are PEM's users alone.
CREATE FUNCTION pem.check_user(username name) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_roles r WHERE r.rolname = username AND NOT r.rolsuper AND r.rolname !~ '^(pem_|reg_[0-9]|agent[0-9])'
                    AND pg_has_role(r.oid, 'pem_user', 'MEMBER')) THEN
    RAISE EXCEPTION '"%" is no user of PEM', username USING ERRCODE = 'PE012';
  END IF;
END $$;

CREATE FUNCTION pem.enable_user(username name) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pem.check_user(username);
  PERFORM pem.set_login(username, true);
END $$;

-- A verifier, never a password. Whoever is signed in with the old one is out within two seconds.
CREATE FUNCTION pem.set_password(username name, verifier text) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM pem.check_user(username);
  PERFORM pem.set_verifier(username, verifier);
  DELETE FROM pem.web_session s WHERE s.username = set_password.username;
END $$;
GRANT EXECUTE ON FUNCTION pem.enable_user(name), pem.set_password(name, text) TO pem_super_admin;
