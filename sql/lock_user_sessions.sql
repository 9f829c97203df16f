-- name: lock_user_sessions :many
-- in:  user_id text, count integer
-- out: id uuid
--
-- Locks up to `count` sessions of a user until the transaction ends, the newest first. Rows that another transaction has
-- locked are left out: a statement that waits for none can be part of no deadlock.
select id
from quiz_sessions
where user_id = %(user_id)s::text
order by created_at desc, id desc
limit %(count)s::integer
for update skip locked;
