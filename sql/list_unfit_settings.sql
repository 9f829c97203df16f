-- name: list_unfit_settings :many
-- out: name text, value text, needed text
--
-- Lists unsuitable settings that the service's role cannot change itself. With another encoding, text is stored wrong
-- or rejected; without fsync, a crash loses acknowledged writes; zero_damaged_pages and ignore_checksum_failure turn
-- corruption into missing rows instead of errors; as a replica, triggers do not fire.
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
