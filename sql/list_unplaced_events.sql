-- name: list_unplaced_events :many
-- in:  count integer
-- out: arrival bigint, session_id uuid, version integer
--
-- Lists up to `count` committed events without a position, in the order of their statements.
select arrival, session_id, version
from unplaced_events
order by arrival
limit %(count)s::integer;
