-- name: set_tracked_settings :count
--
-- Sets what PgBouncer keeps for each client, since PostgreSQL reports it to clients: before it gives a client a server
-- connection, it sets these to the client's values. A client begins with those of PgBouncer's first connection to
-- PostgreSQL, also if the role has others by now. The values are those of configure.
select
from (
  select
    set_config('datestyle', 'ISO, MDY', false),
    set_config('intervalstyle', 'postgres', false),
    set_config('timezone', 'UTC', false),
    set_config('standard_conforming_strings', 'on', false)
) as settings;
