-- name: expire_sessions :many
-- in:  count integer
-- out: id uuid, version integer
--
-- Ends up to `count` overdue sessions, the longest overdue first. Rows that another transaction has locked are left to
-- the next round: the sweeper waits for no write, and several sweepers share the work.
with clock as materialized (
  select date_trunc('milliseconds', clock_timestamp()) as now
),
due as materialized (
  select id
  from quiz_sessions
  where status = 'in_progress'
    and closes_at <= (select now from clock)
  order by closes_at
  limit %(count)s::integer
  for update skip locked
)
update quiz_sessions as s
set
  status = case s.on_expiry when 'complete' then 'completed' else 'expired' end,
  completed_at = case s.on_expiry when 'complete' then s.closes_at end,
  ended_by = 'deadline',
  version = s.version + 1,
  recent_writes = array(select split_part(recent, ' ', 1) from unnest(s.recent_writes) as recent),
  start_digest = null,
  updated_at = now
from due, clock
where s.id = due.id
returning s.id, s.version;
