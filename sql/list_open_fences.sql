-- name: list_open_fences :many
-- out: era uuid, began_at timestamptz, sessions bigint
--
-- Lists the fence that is not finished, if there is one.
select era, began_at, sessions
from fences
where finished_at is null;
