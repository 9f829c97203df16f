-- name: lock_session :count
-- in:  id uuid, owner text?
--
-- Locks the session's row until the transaction ends; waits for another transaction's lock up to lock_timeout.
select
from quiz_sessions
where id = %(id)s
  and (%(owner)s::text is null or user_id = %(owner)s::text)
for update;
