-- name: postpone_delivery :count
-- in:  webhook text, position bigint, seconds integer
--
-- Counts a failed attempt of a delivery, and makes it due again after so many seconds.
update webhook_deliveries
set
  attempts = attempts + 1,
  failed_at = coalesce(failed_at, date_trunc('milliseconds', clock_timestamp())),
  next_at = date_trunc('milliseconds', clock_timestamp()) + %(seconds)s::integer * interval '1 second'
where webhook = %(webhook)s::text
  and position = %(position)s::bigint;
