-- name: lock_starts :many
-- in:  starts jsonb
-- out: ordinality integer
--
-- Which of the starts nobody else is resuming; the locks on them are held until the transaction ends.
with asked as materialized (
  select *
  from jsonb_to_recordset(%(starts)s::jsonb) as a (ordinality integer, user_id text, quiz_id integer)
)
select ordinality
from asked
where pg_try_advisory_xact_lock(hashtextextended(user_id, quiz_id));
