-- no-transaction
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
--
-- The sessions of a quiz that have ended: orders look for those that ended since they began, and not by another order;
-- counts need no other column.
drop index concurrently if exists quiz_sessions_ended_by_quiz;

create index concurrently if not exists quiz_sessions_ended_by_quiz
on quiz_sessions (quiz_id, ended_by, coalesce(completed_at, closes_at, 'infinity')) include (status)
where status in ('completed', 'expired');
