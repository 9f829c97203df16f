-- Runs first in the transaction of every migration.
--
-- Limits the wait for a lock on a table: writes queue behind a migration that waits.
set local lock_timeout = '5s';

create table if not exists schema_migrations (
  name        text        not null constraint schema_migrations_pkey primary key,
  -- SHA-256 of the file: a file that was edited after it was applied is an error.
  checksum    text        not null,
  applied_at  timestamptz not null default clock_timestamp()
);
