-- name: measure_fence :one
-- out: sessions bigint, running bigint, highest integer, highest_id uuid?
--
-- Counts all sessions, and those that run or are paused; finds the highest version, and a session that has it.
with counted as materialized (
  select
    count(*) as sessions,
    count(*) filter (where status in ('in_progress', 'paused')) as running,
    coalesce(max(version), 0) as highest
  from quiz_sessions
)
select
  sessions, running, highest,
  (select id from quiz_sessions where version = counted.highest limit 1) as highest_id
from counted;
