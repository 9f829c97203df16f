-- name: measure_webhook_lag :many
-- out: name text, undelivered integer, oldest_seconds integer, retries integer, disabled boolean, working boolean
--
-- Measures each endpoint: the events that it has not received, up to 100 000 in the feed and those accepted from it; the
-- age of the oldest one since it is in the feed, 0 without one; the events that wait for another attempt. `working`:
-- a process holds the lock of lock_webhooks.
with ahead as materialized (
  select w.name, count(found.placed_at) as count, min(found.placed_at) as oldest
  from webhook_endpoints as w
  left join lateral (
    select p.placed_at
    from event_positions as p
    where p.position > w.position
      and (w.types is null or p.type = any (w.types))
      and (w.quiz_ids is null or p.quiz_id = any (w.quiz_ids))
    order by p.position
    limit 100000
  ) as found on true
  group by w.name
),
open as materialized (
  select
    w.name,
    count(d.position) as count,
    count(d.position) filter (where d.attempts > 0) as retries,
    min(d.placed_at) as oldest
  from webhook_endpoints as w
  left join webhook_deliveries as d on d.webhook = w.name
  group by w.name
)
select
  w.name,
  (ahead.count + open.count)::integer as undelivered,
  coalesce(
    greatest(0, floor(extract(epoch from clock_timestamp() - least(ahead.oldest, open.oldest)))), 0
  )::integer as oldest_seconds,
  open.retries::integer as retries,
  w.disabled_at is not null as disabled,
  exists (
    select
    from pg_locks
    where locktype = 'advisory'
      and database = (select oid from pg_database where datname = current_database())
      and (classid::bigint << 32) + objid::bigint = 7765626873
      and objsubid = 1
      and granted
  ) as working
from webhook_endpoints as w
join ahead on ahead.name = w.name
join open on open.name = w.name
order by w.name;
