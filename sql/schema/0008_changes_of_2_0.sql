-- Lines of the journal for changes by release 2.0, which has no journal and may run beside this one. The statements of
-- this release write their own lines, which each of its connections says by a setting: session_service.journal in
-- configure.sql. A later migration drops these triggers, when no instance of 2.0 runs any more.
--
-- The functions have the rights of the owner of the tables, since bin/migrate grants those of the service's role after
-- the last migration, and 2.0 goes on writing meanwhile.
create function log_start_of_2_0() returns trigger
language plpgsql
security definer
set search_path from current
as $$
begin
  insert into session_events (session_id, version, type, at, actor, data)
  values (
    new.id, new.version, 'session.started', new.started_at, '{"type": "unknown"}',
    jsonb_build_object(
      'user_id', new.user_id,
      'quiz_id', case
        -- An integer up to 2^53 - 1 is shown as such.
        when new.quiz_id !~ '^(0|[1-9][0-9]{0,15})$' then to_jsonb(new.quiz_id)
        when new.quiz_id::bigint > 9007199254740991 then to_jsonb(new.quiz_id)
        else to_jsonb(new.quiz_id::bigint)
      end,
      'time_limit_seconds',
        coalesce(round(extract(epoch from new.expires_at - new.started_at) / new.time_factor::numeric), 0),
      'time_factor', new.time_factor,
      'expires_at', to_char(new.expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
      'grace_seconds', new.grace_seconds,
      'closes_at', to_char(new.closes_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
      'on_expiry', new.on_expiry,
      'max_attempts', new.max_attempts,
      'attempt', new.attempt,
      'metadata', new.metadata
    )
  )
  -- A restored row, or a connection that has lost the setting.
  on conflict do nothing;
  if found then
    insert into unplaced_events (session_id, version)
    values (new.id, new.version);
  end if;
  return null;
end
$$;

create function log_change_of_2_0() returns trigger
language plpgsql
security definer
set search_path from current
as $$
declare
  ends boolean := new.status in ('completed', 'expired');
begin
  insert into session_events (session_id, version, type, at, actor, data)
  values (
    new.id, new.version,
    case when ends then 'session.' || new.status else 'session.saved' end,
    new.updated_at,
    jsonb_build_object('type', case when new.ended_by = 'deadline' then 'system' else 'unknown' end),
    -- Which fields were sent is not known: the line has those that have another value, whatever their size.
    jsonb_strip_nulls(jsonb_build_object(
      'current_question', case
        when new.current_question = old.current_question then null
        when new.current_question !~ '^(0|[1-9][0-9]{0,15})$' then to_jsonb(new.current_question)
        when new.current_question::bigint > 9007199254740991 then to_jsonb(new.current_question)
        else to_jsonb(new.current_question::bigint)
      end,
      'ended_by', case when ends then new.ended_by end,
      'completed_at', case
        when ends then to_char(new.completed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
      end
    ))
    || coalesce(
      (
        select jsonb_build_object('answers', jsonb_object_agg(key, after.value))
        from jsonb_each(old.answers) as before
        full join jsonb_each(new.answers) as after using (key)
        where after.value is distinct from before.value
        having count(*) > 0
      ),
      '{}'
    )
    || coalesce(
      (
        select jsonb_build_object('annotations', jsonb_object_agg(key, after.value))
        from jsonb_each(old.annotations) as before
        full join jsonb_each(new.annotations) as after using (key)
        where after.value is distinct from before.value
        having count(*) > 0
      ),
      '{}'
    )
  )
  on conflict do nothing;
  if found and ends then
    insert into unplaced_events (session_id, version)
    values (new.id, new.version);
  end if;
  return null;
end
$$;

create trigger quiz_sessions_log_start_of_2_0
after insert on quiz_sessions
for each row
when (new.version = 1 and current_setting('session_service.journal', true) is distinct from 'written')
execute function log_start_of_2_0();

create trigger quiz_sessions_log_change_of_2_0
after update of version on quiz_sessions
for each row
when (new.version <> old.version and current_setting('session_service.journal', true) is distinct from 'written')
execute function log_change_of_2_0();
