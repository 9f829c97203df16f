-- name: count_sessions :one unprepared
-- in:  owner text?, quiz_id text, user_id text?
-- out: in_progress integer, paused integer, completed integer, expired integer
--
-- Counts the sessions of a quiz, or of a user's quiz, by their status as list_sessions shows it; with an owner only those
-- of the owner. Unprepared, as list_sessions: those that have ended are counted in their index alone.
with clock as materialized (
  select clock_timestamp() as now
),
wanted as not materialized (
  select status, closes_at, on_expiry
  from quiz_sessions
  where quiz_id = %(quiz_id)s::text
    and (%(owner)s::text is null or user_id = %(owner)s::text)
    and (%(user_id)s::text is null or user_id = %(user_id)s::text)
),
shown as (
  select
    case
      when not coalesce(status = 'in_progress' and closes_at <= now, false) then status
      when on_expiry = 'complete' then 'completed'
      else 'expired'
    end as status
  from wanted
  cross join clock
  where status in ('in_progress', 'paused')
  union all
  select status
  from wanted
  where status in ('completed', 'expired')
)
select
  count(*) filter (where status = 'in_progress')::integer as in_progress,
  count(*) filter (where status = 'paused')::integer as paused,
  count(*) filter (where status = 'completed')::integer as completed,
  count(*) filter (where status = 'expired')::integer as expired
from shown;
