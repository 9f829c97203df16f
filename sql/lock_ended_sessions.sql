-- name: lock_ended_sessions :many
-- in:  before timestamptz, count integer
-- out: id uuid
--
-- Locks up to `count` sessions that have ended before a time until the transaction ends, the longest ended first. Rows
-- that another transaction has locked are left out. A row that has changed since this statement began is judged as it is
-- once it is locked: a session that was reopened meanwhile is left out, too, and nothing changes it before it is erased.
select id
from quiz_sessions
where status in ('completed', 'expired')
  and coalesce(completed_at, closes_at, 'infinity') < %(before)s::timestamptz
order by coalesce(completed_at, closes_at, 'infinity')
limit %(count)s::integer
for update skip locked;
