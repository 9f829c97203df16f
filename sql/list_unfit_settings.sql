-- name: list_unfit_settings :many
-- out: name text, value text, needed text
--
-- Settings that the service cannot work with and that its role cannot set. Text in another encoding is stored
-- wrong or refused; without fsync a crash takes back what was acknowledged; damage of a page has to be an error,
-- not an empty page; triggers and rules have to fire.
select name, current_setting(name, true) as value, needed
from (
  values
    ('server_encoding', 'UTF8'),
    ('fsync', 'on'),
    ('zero_damaged_pages', 'off'),
    ('ignore_checksum_failure', 'off'),
    ('session_replication_role', 'origin')
) as required (name, needed)
where current_setting(name, true) <> needed
union all
select 'search_path', current_setting('search_path'), 'a schema that exists'
where current_schema() is null;
