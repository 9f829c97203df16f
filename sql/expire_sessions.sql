-- name: expire_sessions :many
-- in:  count integer
-- out: id uuid, version integer
--
-- Ends up to `count` overdue sessions, the longest overdue first. Rows that another transaction has locked are left to
-- the next round: the sweeper waits for no write, and several sweepers share the work. Each end has its line in the
-- journal, which is for the feed, too.
-- Whatever the settings of the connection are, the commit is durable, and no trigger of 0008_changes_of_2_0.sql writes lines:
-- behind a pooler, others may have changed them.
with durable as materialized (
  select
    set_config('synchronous_commit', case current_setting('synchronous_commit')
      when 'remote_apply' then 'remote_apply' else 'on' end, true),
    set_config('session_service.journal', 'written', true)
),
clock as materialized (
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
),
ended as (
  update quiz_sessions as s
  set
    status = case s.on_expiry when 'complete' then 'completed' else 'expired' end,
    completed_at = case s.on_expiry when 'complete' then s.closes_at end,
    ended_by = 'deadline',
    version = s.version + 1,
    recent_writes = array(select split_part(recent, ' ', 1) from unnest(s.recent_writes) as recent),
    recent_orders = array(select split_part(recent, ' ', 1) from unnest(s.recent_orders) as recent),
    start_digest = null,
    updated_at = now
  from due, clock, durable
  where s.id = due.id
  returning s.id, s.version, s.status, s.ended_by, s.completed_at, s.updated_at
),
logged as (
  insert into session_events (session_id, version, type, at, actor, data)
  select
    id, version, 'session.' || status, updated_at, '{"type": "system"}',
    jsonb_strip_nulls(jsonb_build_object(
      'ended_by', ended_by,
      'completed_at', to_char(completed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
    ))
  from ended
  returning session_id, version
),
unplaced as (
  insert into unplaced_events (session_id, version)
  select session_id, version
  from logged
)
select id, version
from ended;
