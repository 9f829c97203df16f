-- name: name_settings :count
-- in:  names text
--
-- Sets the parameter of store_settings, names with commas between them, until the transaction ends.
select
from (select set_config('session_service.settings', %(names)s::text, true)) as setting;
