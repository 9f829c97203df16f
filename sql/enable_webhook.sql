-- name: enable_webhook :count
-- in:  name text
--
-- Enables a disabled endpoint. Its deliveries are due at once, as if they had never failed.
with enabled as (
  update webhook_endpoints
  set disabled_at = null, disabled_digest = null
  where name = %(name)s::text
    and disabled_at is not null
  returning name
),
locked as materialized (
  select d.webhook, d.position
  from webhook_deliveries as d
  join enabled as w on w.name = d.webhook
  order by d.webhook, d.position
  for update of d
),
restarted as (
  update webhook_deliveries as d
  set attempts = 0, failed_at = null, next_at = date_trunc('milliseconds', clock_timestamp())
  from locked
  where d.webhook = locked.webhook
    and d.position = locked.position
)
select
from enabled;
