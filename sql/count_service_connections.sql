-- name: count_service_connections :count
-- in:  role text
--
-- Counts the other connections of the service's role to this database.
select
from pg_stat_activity
where datname = current_database()
  and usename = %(role)s::text
  and pid <> pg_backend_pid();
