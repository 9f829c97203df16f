-- name: lock_session :count
-- in:  id uuid
--
-- Held until the transaction ends; waits for whoever holds the row, as long as lock_timeout lets it.
select
from quiz_sessions
where id = %(id)s
for update;
