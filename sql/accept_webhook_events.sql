-- name: accept_webhook_events :many
-- in:  name text, bound integer
-- out: accepted integer, missed bigint, more boolean
--
-- Takes the next events of the feed for an endpoint into its deliveries, up to `bound` of them in all, and moves its
-- position on, in one step. `missed` is the number of positions that were trimmed before; no row for an endpoint that
-- is disabled. Positions of the same database are those of the endpoint, also after it was restored as a whole: the
-- era of the feed, which tells other readers apart, does not matter here.
with endpoint as materialized (
  select w.name, w.types, w.quiz_ids, w.position, f.newest, greatest(w.position, f.trimmed) as begin
  from webhook_endpoints as w
  cross join event_feeds as f
  where w.name = %(name)s::text
    and w.disabled_at is null
    and f.shard = 0
),
room as materialized (
  select %(bound)s::integer - count(*) as count
  from webhook_deliveries
  where webhook = %(name)s::text
),
matching as materialized (
  select p.position, p.session_id, p.version, p.placed_at
  from endpoint as w
  join event_positions as p on p.position > w.begin and p.position <= w.begin + 10000
  where (w.types is null or p.type = any (w.types))
    and (w.quiz_ids is null or p.quiz_id = any (w.quiz_ids))
  order by p.position
  limit greatest(0, (select count from room))
),
counted as materialized (
  select count(*) as count, max(position) as last
  from matching
),
reached as materialized (
  select
    case
      when c.count >= r.count then coalesce(c.last, w.begin)
      else greatest(w.begin, least(w.begin + 10000, w.newest))
    end as position
  from endpoint as w
  cross join counted as c
  cross join room as r
),
added as (
  insert into webhook_deliveries (webhook, position, session_id, version, placed_at, next_at)
  select %(name)s::text, position, session_id, version, placed_at, date_trunc('milliseconds', clock_timestamp())
  from matching
  order by position
  on conflict (webhook, position) do nothing
),
moved as (
  update webhook_endpoints as w
  set position = r.position
  from reached as r
  where w.name = %(name)s::text
    and w.position = (select position from endpoint)
    and w.position <> r.position
)
select
  c.count::integer as accepted,
  w.begin - w.position as missed,
  r.position < w.newest and c.count < (select count from room) as more
from endpoint as w
cross join counted as c
cross join reached as r;
