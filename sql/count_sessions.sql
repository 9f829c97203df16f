-- name: count_sessions :one unprepared
-- in:  owner text?, quiz_id text, user_id text?
-- out: in_progress integer, paused integer, completed integer, expired integer
--
-- Counts the sessions of a quiz, or of a user's quiz, by their status as list_sessions shows it; with an owner only those
-- of the owner. Unprepared, as list_sessions.
with clock as materialized (
  select clock_timestamp() as now
)
select
  count(*) filter (where shown.status = 'in_progress')::integer as in_progress,
  count(*) filter (where shown.status = 'paused')::integer as paused,
  count(*) filter (where shown.status = 'completed')::integer as completed,
  count(*) filter (where shown.status = 'expired')::integer as expired
from quiz_sessions as s
cross join clock
cross join lateral (
  select
    case
      when not coalesce(s.status = 'in_progress' and closes_at <= now, false) then s.status
      when on_expiry = 'complete' then 'completed'
      else 'expired'
    end as status
) as shown
where quiz_id = %(quiz_id)s::text
  and (%(owner)s::text is null or user_id = %(owner)s::text)
  and (%(user_id)s::text is null or user_id = %(user_id)s::text);
