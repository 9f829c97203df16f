-- name: get_connection_limits :one
-- out: server integer, database integer, role integer
--
-- Returns how many connections the server, the database and the role let in; -1: no limit. Superusers are let in beyond the
-- reserved ones and the limit of the database.
select
  current_setting('max_connections')::integer - case
    when r.rolsuper then 0
    else current_setting('superuser_reserved_connections')::integer
      -- PostgreSQL 16 or newer.
      + coalesce(current_setting('reserved_connections', true), '0')::integer
  end as server,
  case when r.rolsuper then -1 else d.datconnlimit end as database,
  coalesce(r.rolconnlimit, -1) as role
from pg_roles as r
join pg_database as d on d.datname = current_database()
where r.rolname = session_user;
