-- name: lock_start :count
-- in:  user_id text, quiz_id integer
--
-- Locks the user and the quiz until the transaction ends: of racing resumes the first one starts a session, and the
-- others find it. Two pairs with the same hash wait for each other, without another effect.
select from (select pg_advisory_xact_lock(hashtextextended(%(user_id)s::text, %(quiz_id)s::integer))) as lock;
