-- name: erase_sessions :many
-- in:  ids uuid[], actor text
-- out: id uuid
--
-- Erases sessions, with their journals and their events in the feed. Of each one line stays, with its next version, for
-- the feed, which filters by quiz: it names no user, and of the actor only the kind.
--
-- The transaction has locked the sessions and the feed in earlier statements: this one then sees every line and every
-- position, also of a save or a sequencer that it has waited for.
-- Whatever the settings of the connection are, the commit is durable, and no trigger of 0008_changes_of_2_0.sql writes lines:
-- behind a pooler, others may have changed them.
with durable as materialized (
  select
    set_config('synchronous_commit', case current_setting('synchronous_commit')
      when 'remote_apply' then 'remote_apply' else 'on' end, true),
    set_config('session_service.journal', 'written', true)
),
gone as (
  delete from quiz_sessions
  using durable
  where id = any (%(ids)s::uuid[])
  returning id, version, quiz_id
),
lines as (
  delete from session_events as e
  using gone
  where e.session_id = gone.id
),
positions as (
  delete from event_positions as p
  using gone
  where p.session_id = gone.id
),
waiting as (
  delete from unplaced_events as u
  using gone
  where u.session_id = gone.id
),
logged as (
  insert into session_events (session_id, version, type, at, actor, data)
  select
    id,
    -- A line may have a later version than a row that was restored by hand.
    1 + greatest(version, (select max(e.version) from session_events as e where e.session_id = gone.id)),
    'session.erased', date_trunc('milliseconds', clock_timestamp()),
    jsonb_build_object('type', %(actor)s::text),
    jsonb_build_object('quiz_id', case
      -- An integer up to 2^53 - 1 is shown as such.
      when quiz_id !~ '^(0|[1-9][0-9]{0,15})$' then to_jsonb(quiz_id)
      when quiz_id::bigint > 9007199254740991 then to_jsonb(quiz_id)
      else to_jsonb(quiz_id::bigint)
    end)
  from gone
  returning session_id, version
),
unplaced as (
  insert into unplaced_events (session_id, version)
  select session_id, version
  from logged
)
select session_id as id
from logged;
