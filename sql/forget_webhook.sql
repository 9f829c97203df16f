-- name: forget_webhook :count
-- in:  name text
--
-- Deletes the state of an endpoint that is not in the settings any more, with its deliveries, in their order.
with locked as materialized (
  select webhook, position
  from webhook_deliveries
  where webhook = %(name)s::text
  order by position
  for update
)
delete from webhook_endpoints
where name = %(name)s::text
  and (select count(*) from locked) >= 0;
