-- no-transaction
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
--
-- The sessions that have ended, by the time of their end: RETENTION_DAYS and bin/erase look for the oldest.
drop index concurrently if exists quiz_sessions_ended_by_time;

create index concurrently if not exists quiz_sessions_ended_by_time
on quiz_sessions (coalesce(completed_at, closes_at, 'infinity'))
where status in ('completed', 'expired');
