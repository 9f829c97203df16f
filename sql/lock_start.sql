-- name: lock_start :count
-- in:  user_id text, quiz_id integer
--
-- Held until the transaction ends, so that of the resumes that race for a user's quiz the first one
-- starts a session and the others find it. Two pairs that share a number only wait for each other.
select from (select pg_advisory_xact_lock(hashtextextended(%(user_id)s::text, %(quiz_id)s::integer))) as lock;
