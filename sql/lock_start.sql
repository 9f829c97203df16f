-- name: lock_start :count
-- in:  user_id text, quiz_id text
--
-- Locks the user and the quiz until the transaction ends: of racing resumes the first one starts a session, and the
-- others find it; starts with a limit of attempts are counted one after the other. Two pairs with the same hash wait for
-- each other, without another effect.
select
from (
  select pg_advisory_xact_lock(hashtextextended(%(user_id)s::text, hashtextextended(%(quiz_id)s::text, 0)))
) as lock;
