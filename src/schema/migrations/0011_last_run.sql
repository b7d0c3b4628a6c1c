-- Which run was a trace's last is kept where its agent does not know any more: it tells of runs until they are taken, and a
-- run that was told before it began anew is over for it.
DO $$
DECLARE
  text text := pg_get_functiondef('pem.note_traces(int, jsonb)'::regprocedure);
  before CONSTANT text := $sql$run = left(x ->> 'run', 40),$sql$;
BEGIN
  IF strpos(text, before) = 0 THEN
    RAISE EXCEPTION 'pem.note_traces is not as this migration knows it';
  END IF;
  EXECUTE replace(text, before, $sql$run = coalesce(left(x ->> 'run', 40), t.run),$sql$);
END $$;
