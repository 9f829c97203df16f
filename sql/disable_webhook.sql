-- name: disable_webhook :count
-- in:  name text, digest text
--
-- Disables an endpoint that has answered 410; its deliveries wait.
update webhook_endpoints
set disabled_at = date_trunc('milliseconds', clock_timestamp()), disabled_digest = %(digest)s::text
where name = %(name)s::text
  and disabled_at is null;
