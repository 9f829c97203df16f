-- name: begin_quiz_order :one
-- in:  quiz_id text, key text, digest text
-- out: digest text, began_at timestamptz, changed integer, finished boolean
--
-- Begins a keyed order for a quiz, or finds the one that has begun with the key. Of two first calls the second one waits,
-- and finds the order of the first.
-- Whatever the settings of the connection are, the commit is durable, and no trigger of 0008_changes_of_2_0.sql writes lines:
-- behind a pooler, others may have changed them.
with durable as materialized (
  select
    set_config('synchronous_commit', case current_setting('synchronous_commit')
      when 'remote_apply' then 'remote_apply' else 'on' end, true),
    set_config('session_service.journal', 'written', true)
)
insert into quiz_orders as o (quiz_id, key, digest, began_at)
select %(quiz_id)s::text, %(key)s::text, %(digest)s::text, clock_timestamp()
from durable
on conflict (quiz_id, key) do update set finished = o.finished
returning digest, began_at, changed, finished;
