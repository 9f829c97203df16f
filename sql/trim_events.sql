-- name: trim_events :many
-- in:  days integer, count integer
-- out: position bigint
--
-- Deletes up to `count` of the oldest positions, those that are older than so many days. Their lines stay in the journal.
with oldest as materialized (
  select position, placed_at < clock_timestamp() - %(days)s::integer * interval '1 day' as is_old
  from event_positions
  order by position
  limit %(count)s::integer
),
-- The first ones in the order of positions, also if the clock has been set back.
old as materialized (
  select position
  from (select position, bool_and(is_old) over (order by position) as are_old from oldest) as judged
  where are_old
),
feed as materialized (
  select shard, trimmed
  from event_feeds
  where shard = 0
    and exists (select from old)
  for update
),
gone as (
  delete from event_positions as p
  using old, feed
  where p.position = old.position
  returning p.position
),
counted as (
  update event_feeds as f
  set trimmed = greatest(feed.trimmed, (select max(position) from old))
  from feed
  where f.shard = feed.shard
)
select position
from gone;
