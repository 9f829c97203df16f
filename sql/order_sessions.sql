-- name: order_sessions :many
-- in:  orders jsonb
-- record: id uuid, kind text, expires_at timestamptz?, extra_seconds integer?, time_limit_seconds integer?,
-- record: expected_versions integer[]?, reason text?, key text?, digest text?, actor jsonb?, client_id text?,
-- record: request_id text?, trace_id text?, brief boolean, ordinality integer, must_queue boolean
-- out: id uuid, status text, version integer, user_id text, quiz_id text, current_question text, answers jsonb,
-- out: annotations jsonb, attempt integer?, metadata jsonb, started_at timestamptz, expires_at timestamptz?,
-- out: closes_at timestamptz?, on_expiry text, late_saves integer, last_saved_at timestamptz, completed_at timestamptz?,
-- out: ended_by text?, created_at timestamptz, updated_at timestamptz, paused_at timestamptz?, verdict text,
-- out: checked_at timestamptz, ordinality integer
--
-- Moves the time of sessions: locks, judges and updates the rows of a batch in one round trip. The kind is `deadline`,
-- `pause`, `resume` or `reopen`. A deadline has exactly one of expires_at, extra_seconds and time_limit_seconds, a
-- reopening has time_limit_seconds. With `brief` the session comes back without its answers and annotations.
--
-- Whatever the verdict, an overdue session is ended by its deadline, unless the order lets it run: then one change is
-- enough, since nothing has shown the end with a version. An order that finds the state that it asks for is `unchanged`:
-- only its key is stored. Each other change writes its line of the journal, which is for the feed, too.
--
-- The steps of the judgement are not materialized, since each copy of a session has its answers.
--
-- A batch has at most one order of a session, except orders with must_queue. The statement waits for no lock: the
-- verdict is `busy` if another transaction holds the row, or if must_queue is set. An order without a row in the result
-- is for a session that does not exist.
with asked as materialized (
  select *
  from jsonb_to_recordset(%(orders)s::jsonb) as a (
    id uuid, kind text, expires_at timestamptz, extra_seconds integer, time_limit_seconds integer,
    expected_versions integer[], reason text, key text, digest text, actor jsonb, client_id text, request_id text, trace_id text,
    brief boolean, ordinality integer, must_queue boolean
  )
),
held as materialized (
  select a, found.s
  from asked as a
  cross join lateral (
    select s
    from quiz_sessions as s
    where s.id = a.id
    for update skip locked
  ) as found
  where not a.must_queue
),
-- The clock is read after the row is locked, as for a write.
clocked as materialized (
  select a, s, date_trunc('milliseconds', clock_timestamp()) as checked_at
  from held
),
timed as (
  select
    *,
    coalesce((s).status = 'in_progress' and (s).closes_at <= checked_at, false) as overdue,
    -- The end of a paused session moves on with the clock.
    case when (s).status = 'paused' then checked_at - (s).paused_at else interval '0' end as pause
  from clocked
),
ended as (
  select
    *,
    case
      when not overdue then (s).status
      when (s).on_expiry = 'complete' then 'completed'
      else 'expired'
    end as status,
    case (a).kind
      when 'deadline' then
        case
          when (a).expires_at is not null then (a).expires_at
          when (a).extra_seconds is not null then
            (s).expires_at + pause + (a).extra_seconds * (s).time_factor * interval '1 second'
          else (s).started_at + nullif((a).time_limit_seconds, 0) * (s).time_factor * interval '1 second'
        end
      when 'reopen' then checked_at + nullif((a).time_limit_seconds, 0) * (s).time_factor * interval '1 second'
      else (s).expires_at + pause
    end as aim
  from timed
),
aimed as (
  select
    *,
    -- In the milliseconds in which it is stored, and no later than the last end that an order may name.
    case when aim is not null then least(aim, timestamptz '2999-12-31 23:59:59.999+00')::timestamptz(3) end as ends_at
  from ended
),
reached as (
  select *, coalesce(ends_at + (s).grace_seconds * interval '1 second' > checked_at, true) as ahead
  from aimed
),
judged as (
  select
    *,
    case
      when
        status = 'completed'
        -- An end that the learner has not asked for is moved as that of an expired session.
        and ((a).kind in ('pause', 'resume') or ((a).kind = 'deadline' and (s).ended_by = 'learner'))
        then 'completed'
      when status = 'expired' and (a).kind in ('pause', 'resume') then 'expired'
      when (a).key || ' ' || (a).digest = any ((s).recent_orders) then 'repeated'
      -- As for a write: digests that cannot be compared count as equal.
      when exists (
        select from unnest((s).recent_orders) as recent where split_part(recent, ' ', 1) = (a).key
      ) then
        case
          when exists (
            select from unnest((s).recent_orders) as recent
            where starts_with(recent, (a).key || ' ' || split_part((a).digest, '.', 1) || '.')
          ) then 'key_reused'
          else 'repeated'
        end
      when (s).version <> all ((a).expected_versions) then 'conflict'
      when
        case (a).kind
          when 'pause' then status = 'paused'
          when 'resume' then status = 'in_progress'
          when 'reopen' then status in ('in_progress', 'paused')
          when 'deadline' then
            case
              when status in ('completed', 'expired') then not ahead
              else ends_at - pause is not distinct from (s).expires_at
            end
        end
        then 'unchanged'
      else 'ok'
    end as verdict
  from reached
),
decided as materialized (
  select
    *,
    case
      when verdict <> 'ok' then status
      when (a).kind = 'pause' then 'paused'
      when (a).kind = 'deadline' and not ahead then
        case (s).on_expiry when 'complete' then 'completed' else 'expired' end
      when (a).kind = 'deadline' and status = 'paused' then 'paused'
      else 'in_progress'
    end as next
  from judged
),
written as (
  update quiz_sessions as t
  set
    status = next,
    version = t.version + case when verdict = 'ok' or overdue then 1 else 0 end,
    updated_at = case when verdict = 'ok' or overdue then checked_at else t.updated_at end,
    expires_at = case
      when verdict <> 'ok' then t.expires_at
      -- What is left of the time at the pause.
      when next = 'paused' then ends_at - pause
      else ends_at
    end,
    closes_at = case
      when verdict <> 'ok' then t.closes_at
      when next = 'paused' then null
      when next = 'in_progress' then ends_at + t.grace_seconds * interval '1 second'
      else checked_at
    end,
    paused_at = case when next = 'paused' then coalesce(t.paused_at, checked_at) end,
    completed_at = case
      when next <> 'completed' then null
      when verdict = 'ok' then checked_at
      when overdue then t.closes_at
      else t.completed_at
    end,
    ended_by = case
      when next not in ('completed', 'expired') then null
      when verdict = 'ok' then 'proctor'
      when overdue then 'deadline'
      else t.ended_by
    end,
    recent_orders = array(
      select case when next in ('completed', 'expired') then split_part(recent, ' ', 1) else recent end
      from unnest(
        case
          when verdict in ('ok', 'unchanged') and (a).key is not null
            then array_prepend((a).key || ' ' || (a).digest, t.recent_orders[:15])
          else t.recent_orders
        end
      ) with ordinality as kept (recent, place)
      order by place
    ),
    recent_writes = case
      when next in ('completed', 'expired')
        then array(select split_part(recent, ' ', 1) from unnest(t.recent_writes) as recent)
      else t.recent_writes
    end,
    start_digest = case when next not in ('completed', 'expired') then t.start_digest end
  from decided
  where t.id = (s).id
    and (verdict = 'ok' or overdue or (verdict = 'unchanged' and (a).key is not null))
  returning t, a, verdict, overdue, checked_at
),
logged as (
  insert into session_events (session_id, version, type, at, actor, client_id, request_id, trace_id, data)
  select
    (t).id, (t).version,
    case
      when (t).status in ('completed', 'expired') then 'session.' || (t).status
      when (a).kind = 'deadline' then 'session.deadline_changed'
      when (a).kind = 'pause' then 'session.paused'
      when (a).kind = 'resume' then 'session.resumed'
      else 'session.reopened'
    end,
    checked_at,
    case when verdict = 'ok' then (a).actor else '{"type": "system"}' end,
    case when verdict = 'ok' then (a).client_id end,
    case when verdict = 'ok' then (a).request_id end,
    case when verdict = 'ok' then (a).trace_id end,
    case
      when (t).status in ('completed', 'expired') then jsonb_build_object('ended_by', (t).ended_by)
      else '{}'
    end
    || case
      when (t).status = 'completed' then jsonb_build_object(
        'completed_at', to_char((t).completed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
      )
      else '{}'
    end
    || case
      when verdict = 'ok' then jsonb_build_object(
        'expires_at', to_char((t).expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'closes_at', to_char((t).closes_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'paused_at', to_char((t).paused_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'reason', (a).reason
      )
      else '{}'
    end
  from written
  where verdict = 'ok'
    or overdue
  returning session_id, version
),
unplaced as (
  insert into unplaced_events (session_id, version)
  select session_id, version
  from logged
),
results as (
  select t as r, a, verdict, checked_at
  from written
  union all
  select s, a, verdict, checked_at
  from decided
  where not exists (select from written where (written.a).ordinality = (decided.a).ordinality)
  union all
  select s, a, 'busy', date_trunc('milliseconds', clock_timestamp())
  from asked as a
  join quiz_sessions as s on s.id = a.id
  where not exists (select from held where (held.a).ordinality = a.ordinality)
)
select
  (r).id, (r).status, (r).version, (r).user_id, (r).quiz_id, (r).current_question,
  case when (a).brief then '{}' else (r).answers end as answers,
  case when (a).brief then '{}' else (r).annotations end as annotations,
  (r).attempt, (r).metadata, (r).started_at, (r).expires_at, (r).closes_at, (r).on_expiry, (r).late_saves,
  (r).last_saved_at, (r).completed_at, (r).ended_by, (r).created_at, (r).updated_at, (r).paused_at,
  verdict, checked_at, (a).ordinality
from results;
