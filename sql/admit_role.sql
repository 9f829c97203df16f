-- name: admit_role :count unprepared
--
-- Grants the service's role the rights to read and write its tables, or the role of ERASE_DATABASE_URL the rights to erase
-- sessions without reading them, and no other rights. Creates the role if it does not exist; an existing role keeps its
-- password. Rights on the database and the schema that the role has already are
-- not granted again, so that the migrating role need not own them.
do $$
declare
  role text := current_setting('session_service.role');
  verifier text := nullif(current_setting('session_service.verifier'), '');
begin
  if not exists (select from pg_roles where rolname = role) then
    begin
      execute format('create role %%I login password %%L', role, verifier);
    exception
      -- A migration of another database on the same server has created the role in the meantime.
      when duplicate_object or unique_violation then null;
    end;
  end if;
  if not has_database_privilege(role, current_database(), 'connect') then
    execute format('grant connect on database %%I to %%I', current_database(), role);
  end if;
  if not has_schema_privilege(role, current_schema(), 'usage') then
    execute format('grant usage on schema %%I to %%I', current_schema(), role);
  end if;
  if current_setting('session_service.erases')::boolean then
    -- A row is locked before it is deleted, which takes the right to update a column.
    execute format(
      'grant select (id, user_id, quiz_id, status, version, created_at, completed_at, closes_at), '
      'update (version), delete on quiz_sessions to %%I', role
    );
    execute format(
      'grant select (session_id, version, actor), insert, update (actor, client_id, request_id, trace_id), delete '
      'on session_events to %%I', role
    );
    execute format('grant select (session_id), delete on event_positions to %%I', role);
    execute format('grant select (session_id), insert, delete on unplaced_events to %%I', role);
    execute format('grant select, update (newest) on event_feeds to %%I', role);
    return;
  end if;
  execute format('grant select, insert, update on quiz_sessions, quiz_orders to %%I', role);
  -- The journal: a line is never changed.
  execute format('grant select, insert on session_events to %%I', role);
  -- The feed: a position is never changed, but deleted when it is old.
  execute format('grant select, insert, delete on unplaced_events, event_positions to %%I', role);
  execute format('grant select, update on event_feeds to %%I', role);
  -- Webhooks: a delivery is deleted when it is done, an endpoint when it is forgotten.
  execute format('grant select, insert, update, delete on webhook_endpoints, webhook_deliveries to %%I', role);
  execute format('grant select on schema_migrations, installation_secrets to %%I', role);
end
$$;
