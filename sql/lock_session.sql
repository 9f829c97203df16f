-- name: lock_session :count
-- in:  id uuid, owner text?
--
-- Held until the transaction ends; waits for whoever holds the row, as long as lock_timeout lets it.
select
from quiz_sessions
where id = %(id)s
  and (%(owner)s::text is null or user_id = %(owner)s::text)
for update;
