-- name: get_event_feed :one
-- out: era uuid, shard integer, newest bigint, trimmed bigint
--
-- Returns the state of the feed.
select era, shard, newest, trimmed
from event_feeds
where shard = 0;
