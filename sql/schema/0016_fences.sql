-- Fences: after a restore bin/fence moves the versions of all sessions beyond any that the lost time may have shown
-- (docs/backup.md). One row for each restore.
create table fences (
  -- The era of the feed that began with it.
  era          uuid            not null constraint fences_pkey primary key,
  began_at     timestamptz(3)  not null,
  -- Sessions up to this id are done; null before the first and after the last.
  reached      uuid,
  sessions     bigint          not null default 0,
  finished_at  timestamptz(3)
);
