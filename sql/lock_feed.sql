-- name: lock_feed :count
--
-- Locks the feed until the transaction ends. No other transaction gives or deletes positions meanwhile, and the next
-- statement sees all those that were given before.
select
from event_feeds
where shard = 0
for update;
