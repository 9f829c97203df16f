-- name: finish_delivery :count
-- in:  webhook text, position bigint
--
-- Deletes a delivery: it was received, was given up, or has no event any more.
delete from webhook_deliveries
where webhook = %(webhook)s::text
  and position = %(position)s::bigint;
