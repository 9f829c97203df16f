-- name: lock_starts :many
-- in:  starts jsonb
-- out: position integer
--
-- Which of the starts nobody else is resuming; the locks on them are held until the transaction ends.
with asked as materialized (
  select *
  from jsonb_to_recordset(%(starts)s::jsonb) as a (position integer, user_id text, quiz_id integer)
)
select position
from asked
where pg_try_advisory_xact_lock(hashtextextended(user_id, quiz_id));
