-- name: begin_quiz_order :one
-- in:  quiz_id text, key text, digest text
-- out: digest text, began_at timestamptz, changed integer, finished boolean
--
-- Begins a keyed order for a quiz, or finds the one that has begun with the key. Of two first calls the second one waits,
-- and finds the order of the first.
insert into quiz_orders as o (quiz_id, key, digest, began_at)
values (%(quiz_id)s::text, %(key)s::text, %(digest)s::text, clock_timestamp())
on conflict (quiz_id, key) do update set finished = o.finished
returning digest, began_at, changed, finished;
