-- name: expire_sessions :count
-- in:  count integer
--
-- Marks up to `count` overdue sessions as expired, the longest overdue first. Rows that another transaction has
-- locked are left to the next round: the sweeper waits for no write, and several sweepers share the work.
with due as materialized (
  select id
  from quiz_sessions
  where status = 'in_progress'
    and expires_at <= clock_timestamp()
  order by expires_at
  limit %(count)s::integer
  for update skip locked
)
update quiz_sessions as s
set
  status = 'expired',
  version = s.version + 1,
  recent_writes = '{}',
  updated_at = date_trunc('milliseconds', clock_timestamp())
from due
where s.id = due.id;
