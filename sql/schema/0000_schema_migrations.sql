-- Runs at the head of every migration's transaction. The lock makes a second
-- runner wait and then find the work done; it ends with the transaction.
select pg_advisory_xact_lock(7365737369);

-- A migration that cannot have its table gives up before the writes that queue behind it are felt.
set local lock_timeout = '5s';

create table if not exists schema_migrations (
  name        text        not null constraint schema_migrations_pkey primary key,
  -- SHA-256 of the file: a file that was edited after it was applied is an error.
  checksum    text        not null,
  applied_at  timestamptz not null default clock_timestamp()
);
