-- name: fence_sessions :one
-- in:  era uuid, count integer
-- out: fenced integer, total bigint
--
-- Adds 1 000 000 to the versions of the next `count` sessions, in the order of their ids, and stores how far the fence has
-- come, in one step: a fence that is continued changes no session twice. Each change has its line in the journal. The
-- feed has those of sessions that run or are paused: readers of its new era compare all sessions anyway.
--
-- Whatever the settings of the connection are, the commit is durable, and no trigger of 0008_changes_of_2_0.sql writes lines.
with durable as materialized (
  select
    set_config('synchronous_commit', case current_setting('synchronous_commit')
      when 'remote_apply' then 'remote_apply' else 'on' end, true),
    set_config('session_service.journal', 'written', true)
),
fence as materialized (
  select era, coalesce(reached, '00000000-0000-0000-0000-000000000000') as reached
  from fences
  where era = %(era)s
    and finished_at is null
  for update
),
batch as materialized (
  select s.id
  from quiz_sessions as s
  where s.id > (select reached from fence)
  order by s.id
  limit %(count)s::integer
  for update
),
fenced as (
  update quiz_sessions as s
  set version = s.version + 1000000, updated_at = date_trunc('milliseconds', clock_timestamp())
  from batch, durable
  where s.id = batch.id
  returning s.id, s.version, s.status, s.updated_at
),
logged as (
  insert into session_events (session_id, version, type, at, actor, data)
  select id, version, 'session.fenced', updated_at, '{"type": "system"}', '{}'
  from fenced
),
unplaced as (
  insert into unplaced_events (session_id, version)
  select id, version
  from fenced
  where status in ('in_progress', 'paused')
),
moved as (
  update fences as f
  set
    reached = coalesce((select id from batch order by id desc limit 1), f.reached),
    sessions = f.sessions + (select count(*) from batch)
  from fence
  where f.era = fence.era
  returning f.sessions
)
select (select count(*) from fenced)::integer as fenced, sessions as total
from moved;
