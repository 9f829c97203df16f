-- no-transaction
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
--
-- The sessions of a quiz that run or are paused, newest first: lists with such a status, and orders for a quiz.
drop index concurrently if exists quiz_sessions_running_by_quiz;

create index concurrently if not exists quiz_sessions_running_by_quiz
on quiz_sessions (quiz_id, created_at desc, id desc)
where status in ('in_progress', 'paused');
