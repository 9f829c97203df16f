-- name: begin_fence :one
-- out: era uuid
--
-- Begins a fence, and with it another era of the feed: every cursor of its readers is 410 from now on. A fence that was not
-- finished is forgotten: it was for an earlier restore.
with era as (
  update event_feeds
  set era = gen_random_uuid()
  where shard = 0
  returning era
),
forgotten as (
  delete from fences
  where finished_at is null
)
insert into fences (era, began_at)
select era, date_trunc('milliseconds', clock_timestamp())
from era
returning era;
