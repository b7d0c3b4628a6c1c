-- What an ingester notes before it touches a batch after an end that was not clean: a batch that ends the process time
-- and again is set aside unread. Unlogged like the inbox whose ids it holds.
CREATE UNLOGGED TABLE pem.ingest_suspect (
  inbox_id bigint PRIMARY KEY,
  tries int NOT NULL,
  at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON pem.ingest_suspect TO pem_ingest;
