-- name: place_events :many
-- in:  events jsonb
-- record: arrival bigint
-- out: position bigint
--
-- Gives positions to events of list_unplaced_events: the next ones, in the order of `arrival`, and in one step with the
-- end of their waiting. The feed's row is locked first, and has the newest position also if this statement began before
-- the last one committed. An event that another instance has placed meanwhile is not waiting any more, and is left out.
--
-- Positions are therefore committed one after the other, without gaps: a reader that has seen one has seen all before it.
with asked as materialized (
  select arrival
  from jsonb_to_recordset(%(events)s::jsonb) as a (arrival bigint)
),
feed as materialized (
  select shard, newest
  from event_feeds
  where shard = 0
  for update
),
taken as (
  delete from unplaced_events as u
  using asked, feed
  where u.arrival = asked.arrival
  returning u.arrival, u.session_id, u.version
),
numbered as materialized (
  select
    row_number() over (order by t.arrival) as number,
    e.session_id, e.version, e.type,
    -- An erased session has left its quiz in its last line.
    coalesce(s.quiz_id, e.data ->> 'quiz_id') as quiz_id,
    -- The values that differ in length, and what all lines have.
    256 + octet_length(concat(
      e.type, e.actor, e.client_id, e.request_id, e.trace_id, e.data, to_json(s.user_id), to_json(s.quiz_id)
    )) as bytes
  from taken as t
  join session_events as e on e.session_id = t.session_id and e.version = t.version
  left join quiz_sessions as s on s.id = t.session_id
),
counted as (
  update event_feeds as f
  set newest = feed.newest + total.count
  from feed
  cross join (select count(*) as count from numbered) as total
  where f.shard = feed.shard
    and total.count > 0
)
insert into event_positions (position, session_id, version, type, quiz_id, bytes, placed_at)
select
  feed.newest + number, session_id, version, type, numbered.quiz_id, bytes,
  date_trunc('milliseconds', clock_timestamp())
from numbered
cross join feed
order by number
returning position;
