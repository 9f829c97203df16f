-- name: mark_settings :count unprepared
--
-- Marks the settings of store_settings as not yet those of all connections of the role: one is stored as `no`, which PostgreSQL
-- reads as `off`, and which is not equal to the value of configure.
do $$
begin
  execute format('alter role %%I in database %%I set enable_seqscan = no', session_user, current_database());
end
$$;
