-- name: list_migrations :many
-- out: name text, checksum text
select name, checksum
from schema_migrations
order by name;
