-- name: list_migrations :many
-- out: name text, checksum text
--
-- Lists the applied migrations.
select name, checksum
from schema_migrations
order by name;
