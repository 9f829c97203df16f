-- name: lock_starts :many
-- in:  starts jsonb
-- record: user_id text, quiz_id text, ordinality integer
-- out: ordinality integer
--
-- Tries to lock the user and the quiz of each start, without waiting, until the transaction ends. Returns the
-- ordinality of each start whose lock was acquired.
with asked as materialized (
  select *
  from jsonb_to_recordset(%(starts)s::jsonb) as a (user_id text, quiz_id text, ordinality integer)
)
select ordinality
from asked
where pg_try_advisory_xact_lock(hashtextextended(user_id, hashtextextended(quiz_id, 0)));
