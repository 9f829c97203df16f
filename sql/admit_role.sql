-- name: admit_role :count unprepared
--
-- Lets the role that the service connects as read and write its tables, and nothing else. One that is there keeps
-- its password. What everybody may do already, or another than this one has granted, is not granted again: who
-- migrates need not own the database.
do $$
declare
  role text := current_setting('session_service.role');
  verifier text := nullif(current_setting('session_service.verifier'), '');
begin
  if not exists (select from pg_roles where rolname = role) then
    begin
      execute format('create role %%I login password %%L', role, verifier);
    exception
      -- Whoever migrates another database of the server at the same time was first.
      when duplicate_object or unique_violation then null;
    end;
  end if;
  if not has_database_privilege(role, current_database(), 'connect') then
    execute format('grant connect on database %%I to %%I', current_database(), role);
  end if;
  if not has_schema_privilege(role, current_schema(), 'usage') then
    execute format('grant usage on schema %%I to %%I', current_schema(), role);
  end if;
  execute format('grant select, insert, update on quiz_sessions to %%I', role);
  execute format('grant select on schema_migrations, installation_secrets to %%I', role);
end
$$;
