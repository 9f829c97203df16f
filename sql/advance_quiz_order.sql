-- name: advance_quiz_order :one
-- in:  quiz_id text, key text, changed integer, finished boolean
-- out: changed integer
--
-- Adds the sessions that a step of the order has changed; returns their number in all steps.
update quiz_orders
set
  changed = changed + %(changed)s::integer,
  finished = finished or %(finished)s::boolean
where quiz_id = %(quiz_id)s::text
  and key = %(key)s::text
returning changed;
