-- name: write_sessions :many
-- in:  writes jsonb
-- record: id uuid, owner text?, kind text, change jsonb, cleared_answers text[], cleared_annotations text[],
-- record: current_question text?, expected_versions integer[]?, key text?, digest text?, actor jsonb?, client_id text?,
-- record: request_id text?, trace_id text?, summary jsonb?, ordinality integer, must_queue boolean
-- out: id uuid, status text, version integer, user_id text, quiz_id text, current_question text, answers jsonb,
-- out: annotations jsonb, attempt integer?, metadata jsonb, started_at timestamptz, expires_at timestamptz?,
-- out: closes_at timestamptz?, on_expiry text, late_saves integer, last_saved_at timestamptz, completed_at timestamptz?,
-- out: ended_by text?, created_at timestamptz, updated_at timestamptz, paused_at timestamptz?, verdict text,
-- out: checked_at timestamptz, ordinality integer
--
-- Saves answers, completes sessions and closes overdue ones: locks, checks and updates the rows of a batch in one round
-- trip. The kind is `save`, `complete`, or `close` for a request that changes nothing but an overdue session. Whatever
-- the kind, an overdue session is ended by its deadline.
--
-- The change has `answers`, `annotations` and `current_question`, as far as they are written; null clears a value. Each
-- change of a session writes its line of the journal, with the summary, if there is one, instead of the change. All lines
-- but those of saves are for the feed.
--
-- A batch has at most one write of a session, except writes with must_queue. The statement waits for no lock: the
-- verdict is `busy` if another transaction holds the row, or if must_queue is set. A write without a row in the result is
-- for a session that does not exist or, if the record has an owner, belongs to another user: such a row is not locked.
with asked as materialized (
  select
    a.*,
    coalesce(change -> 'answers', '{}') as answers,
    coalesce(change -> 'annotations', '{}') as annotations
  from jsonb_to_recordset(%(writes)s::jsonb) as a (
    id uuid, owner text, kind text, change jsonb, cleared_answers text[], cleared_annotations text[],
    current_question text, expected_versions integer[], key text, digest text, actor jsonb, client_id text,
    request_id text, trace_id text, summary jsonb, ordinality integer, must_queue boolean
  )
),
held as materialized (
  select a, found.s
  from asked as a
  cross join lateral (
    select s
    from quiz_sessions as s
    where s.id = a.id
      and (a.owner is null or s.user_id = a.owner)
    for update skip locked
  ) as found
  where not a.must_queue
),
-- The clock is read after the row is locked: a write that waited for the lock until after closes_at is too late.
clocked as materialized (
  select
    a, s,
    date_trunc('milliseconds', clock_timestamp()) as checked_at,
    ((s).answers || (a).answers) - (a).cleared_answers as answers,
    ((s).annotations || (a).annotations) - (a).cleared_annotations as annotations
  from held
),
timed as materialized (
  select *, coalesce((s).status = 'in_progress' and (s).closes_at <= checked_at, false) as overdue
  from clocked
),
ended as materialized (
  select
    *,
    case
      when not overdue then (s).status
      when (s).on_expiry = 'complete' then 'completed'
      else 'expired'
    end as status
  from timed
),
judged as materialized (
  select
    *,
    case
      when (a).kind = 'close' then case when status = 'expired' then 'expired' else 'repeated' end
      when status = 'completed' then
        case
          when (a).kind = 'complete' and answers = (s).answers and annotations = (s).annotations then 'repeated'
          else 'completed'
        end
      when status = 'expired' then 'expired'
      -- Writes that were on their way when the session was paused.
      when status = 'paused' and (s).paused_at + (s).grace_seconds * interval '1 second' <= checked_at then 'paused'
      when (a).key || ' ' || (a).digest = any ((s).recent_writes) then 'repeated'
      -- Digests by another DIGEST_KEY or release, and keys without one, cannot be compared: they count as equal.
      when exists (
        select from unnest((s).recent_writes) as recent where split_part(recent, ' ', 1) = (a).key
      ) then
        case
          when exists (
            select from unnest((s).recent_writes) as recent
            where starts_with(recent, (a).key || ' ' || split_part((a).digest, '.', 1) || '.')
          ) then 'key_reused'
          else 'repeated'
        end
      when (s).version <> all ((a).expected_versions) then 'conflict'
      -- pg_column_size is cheap, and a safe first test: the text is less than 32 times as long (a number like 1e308 is
      -- a text of 309 characters in 12 bytes), and 10 000 entries take more than 32768 bytes.
      when pg_column_size(answers) + pg_column_size(annotations) > 32768 and (
        octet_length(answers::text) + octet_length(annotations::text) > 1048576
        or (select count(*) from jsonb_object_keys(answers)) > 10000
        or (select count(*) from jsonb_object_keys(annotations)) > 10000
      ) then 'too_large'
      else 'ok'
    end as verdict,
    (a).answers <> '{}' or (a).annotations <> '{}' as saves
  from ended
),
written as (
  update quiz_sessions as t
  set
    answers = case when verdict = 'ok' then judged.answers else t.answers end,
    annotations = case when verdict = 'ok' then judged.annotations else t.annotations end,
    current_question = case
      when verdict = 'ok' then coalesce((a).current_question, t.current_question) else t.current_question
    end,
    version = t.version + 1,
    late_saves = t.late_saves + case
      -- The time of a paused session stands still.
      when verdict = 'ok' and saves and t.expires_at <= coalesce(t.paused_at, checked_at) then 1 else 0
    end,
    last_saved_at = case when verdict = 'ok' and saves then checked_at else t.last_saved_at end,
    updated_at = checked_at,
    status = case when verdict = 'ok' and (a).kind = 'complete' then 'completed' else judged.status end,
    completed_at = case
      when verdict = 'ok' and (a).kind = 'complete' then checked_at
      when judged.status = 'completed' then t.closes_at
    end,
    ended_by = case when overdue then 'deadline' when (a).kind = 'complete' then 'learner' end,
    closes_at = case
      when t.status = 'paused' and (a).kind = 'complete' then t.expires_at + t.grace_seconds * interval '1 second'
      else t.closes_at
    end,
    paused_at = case when (a).kind <> 'complete' then t.paused_at end,
    -- The keys outlive the digests, which would help to guess a cleared answer.
    recent_writes = case
      when overdue then array(select split_part(recent, ' ', 1) from unnest(t.recent_writes) as recent)
      when (a).kind = 'complete' then
        case when (a).key is null then '{}' else array[(a).key] end
        || array(select split_part(recent, ' ', 1) from unnest(t.recent_writes[:15]) as recent)
      when (a).key is null then t.recent_writes
      else array_prepend((a).key || ' ' || (a).digest, t.recent_writes[:15])
    end,
    recent_orders = case
      when overdue or (a).kind = 'complete'
        then array(select split_part(recent, ' ', 1) from unnest(t.recent_orders) as recent)
      else t.recent_orders
    end,
    start_digest = case when overdue or (a).kind = 'complete' then null else t.start_digest end
  from judged
  where t.id = (s).id
    and (verdict = 'ok' or overdue)
  returning t, a, judged.status as found, verdict, overdue, checked_at
),
logged as (
  insert into session_events (session_id, version, type, at, actor, client_id, request_id, trace_id, data)
  select
    (t).id, (t).version,
    case when (t).status in ('in_progress', 'paused') then 'session.saved' else 'session.' || (t).status end,
    checked_at,
    case when overdue then '{"type": "system"}' else (a).actor end,
    case when not overdue then (a).client_id end,
    case when not overdue then (a).request_id end,
    case when not overdue then (a).trace_id end,
    case when overdue then '{}' else coalesce((a).summary, (a).change) end
      || case
        when (t).status in ('in_progress', 'paused') then '{}'
        when (t).status = 'expired' then jsonb_build_object('ended_by', (t).ended_by)
        else jsonb_build_object(
          'ended_by', (t).ended_by,
          'completed_at', to_char((t).completed_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
        )
      end
      || case
        when found = 'paused' and (t).status = 'completed' then jsonb_build_object(
          'closes_at', to_char((t).closes_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), 'paused_at', null
        )
        else '{}'
      end
  from written
),
unplaced as (
  insert into unplaced_events (session_id, version)
  select (t).id, (t).version
  from written
  where (t).status not in ('in_progress', 'paused')
),
results as (
  select t as r, verdict, checked_at, (a).ordinality
  from written
  union all
  select s, verdict, checked_at, (a).ordinality
  from judged
  where verdict <> 'ok'
    and not overdue
  union all
  select s, 'busy', date_trunc('milliseconds', clock_timestamp()), a.ordinality
  from asked as a
  join quiz_sessions as s on s.id = a.id and (a.owner is null or s.user_id = a.owner)
  where not exists (select from held where (held.a).ordinality = a.ordinality)
)
select
  (r).id, (r).status, (r).version, (r).user_id, (r).quiz_id, (r).current_question, (r).answers,
  (r).annotations, (r).attempt, (r).metadata, (r).started_at, (r).expires_at, (r).closes_at, (r).on_expiry,
  (r).late_saves, (r).last_saved_at, (r).completed_at, (r).ended_by, (r).created_at, (r).updated_at,
  (r).paused_at,
  verdict, checked_at, ordinality
from results;
