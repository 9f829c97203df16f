-- name: end_connections :count
-- in:  before timestamptz
--
-- Ends the idle connections of this role to this database that are older, and at last this one; counts those that are left.
select
from (
  select
    case
      when pid <> pg_backend_pid() and state = 'idle' then pg_terminate_backend(pid)
      when pid = pg_backend_pid() and rest.others = 0 then pg_terminate_backend(pid)
    end
  from pg_stat_activity
  cross join (
    select count(*) as others
    from pg_stat_activity
    where usename = session_user
      and datname = current_database()
      and backend_type = 'client backend'
      and pid <> pg_backend_pid()
      and backend_start <= %(before)s::timestamptz
  ) as rest
  where usename = session_user
    and datname = current_database()
    and backend_type = 'client backend'
    and backend_start <= %(before)s::timestamptz
) as older;
