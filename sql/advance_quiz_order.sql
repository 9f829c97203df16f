-- name: advance_quiz_order :one
-- in:  quiz_id text, key text, changed integer, finished boolean
-- out: changed integer
--
-- Adds the sessions that a step of the order has changed; returns their number in all steps.
-- Whatever the settings of the connection are, the commit is durable, and no trigger of 0008_changes_of_2_0.sql writes lines:
-- behind a pooler, others may have changed them.
with durable as materialized (
  select
    set_config('synchronous_commit', case current_setting('synchronous_commit')
      when 'remote_apply' then 'remote_apply' else 'on' end, true),
    set_config('session_service.journal', 'written', true)
)
update quiz_orders
set
  changed = changed + %(changed)s::integer,
  finished = finished or %(finished)s::boolean
from durable
where quiz_id = %(quiz_id)s::text
  and key = %(key)s::text
returning changed;
