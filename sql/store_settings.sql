-- name: store_settings :count unprepared
--
-- Stores the current values of the settings as those with which connections of this role to this database begin. A role may
-- change its own settings.
do $$
declare
  name text;
begin
  foreach name in array string_to_array(current_setting('session_service.settings'), ',') loop
    execute format('alter role %%I in database %%I set %%I from current', session_user, current_database(), name);
  end loop;
end
$$;
