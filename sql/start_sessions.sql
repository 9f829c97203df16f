-- name: start_sessions :many
-- in:  starts jsonb
-- record: id uuid, user_id text, quiz_id text, time_limit_seconds integer, grace_seconds integer, on_expiry text,
-- record: time_factor float8, max_attempts integer?, metadata jsonb, key text?, digest text?, actor jsonb,
-- record: client_id text?, request_id text, trace_id text?, shown jsonb, resume boolean, locked boolean, ordinality integer
-- out: id uuid, status text, version integer, user_id text, quiz_id text, current_question text, answers jsonb,
-- out: annotations jsonb, attempt integer?, metadata jsonb, started_at timestamptz, expires_at timestamptz?,
-- out: closes_at timestamptz?, on_expiry text, late_saves integer, last_saved_at timestamptz, completed_at timestamptz?,
-- out: ended_by text?, created_at timestamptz, updated_at timestamptz, paused_at timestamptz?, verdict text,
-- out: checked_at timestamptz, ordinality integer
--
-- A batch has at most one start of a user's key or, under locks, of a user's quiz. A start without a row has lost a
-- race against another transaction with the same key, which committed after this statement's snapshot: the statement
-- run again returns the winner's session. Or its user and quiz have a limit of attempts, which is judged only under the
-- lock of lock_start: then it has to come again as locked.
--
-- Each session that is started has its first line in the journal, with `shown` and the fields that are decided here. The
-- line is for the feed, too.
with clock as materialized (
  select date_trunc('milliseconds', clock_timestamp()) as now
),
asked as materialized (
  select *
  from jsonb_to_recordset(%(starts)s::jsonb) as a (
    id uuid, user_id text, quiz_id text, time_limit_seconds integer, grace_seconds integer, on_expiry text,
    time_factor float8, max_attempts integer, metadata jsonb, key text, digest text, actor jsonb,
    client_id text, request_id text, trace_id text, shown jsonb, resume boolean, locked boolean, ordinality integer
  )
),
known as materialized (
  select
    s.id, a.ordinality,
    case
      -- Also of an ended session, without its digest: a session of another quiz is no repeat.
      when s.quiz_id <> a.quiz_id then 'key_reused'
      -- Before the digest, which goes when the session ends.
      when s.status = 'in_progress' and s.closes_at <= now then 'overdue'
      -- Digests by another DIGEST_KEY or release, and keys without one, cannot be compared: they count as equal.
      when s.start_digest <> a.digest and split_part(s.start_digest, '.', 1) = split_part(a.digest, '.', 1)
        then 'key_reused'
      else 'repeated'
    end as verdict
  from asked as a
  cross join clock
  join quiz_sessions as s on s.user_id = a.user_id and s.start_key = a.key
),
running as materialized (
  select newest.id, a.ordinality, 'resumed' as verdict
  from asked as a
  cross join clock
  cross join lateral (
    select s.id
    from quiz_sessions as s
    where s.user_id = a.user_id
      and s.quiz_id = a.quiz_id
      and (s.status = 'paused' or (s.status = 'in_progress' and (s.closes_at is null or s.closes_at > now)))
    order by s.created_at desc, s.id desc
    limit 1
  ) as newest
  where a.resume
    and not exists (select from known where known.ordinality = a.ordinality)
),
-- The starts that find no session, with the limit of attempts that binds them and the attempts so far.
wanted as materialized (
  select
    a.*, limited.most,
    case
      when limited.most is not null then (
        select count(*) from quiz_sessions as s where s.user_id = a.user_id and s.quiz_id = a.quiz_id
      )
    end as attempts
  from asked as a
  cross join lateral (
    select coalesce(a.max_attempts, max(s.max_attempts)) as most
    from quiz_sessions as s
    where s.user_id = a.user_id
      and s.quiz_id = a.quiz_id
      and s.max_attempts is not null
  ) as limited
  where not exists (select from known where known.ordinality = a.ordinality)
    and not exists (select from running where running.ordinality = a.ordinality)
),
exhausted as materialized (
  select newest.id, w.ordinality, 'exhausted' as verdict
  from wanted as w
  cross join lateral (
    select s.id
    from quiz_sessions as s
    where s.user_id = w.user_id
      and s.quiz_id = w.quiz_id
    order by s.created_at desc, s.id desc
    limit 1
  ) as newest
  where w.locked
    and w.attempts >= w.most
),
started as (
  insert into quiz_sessions (
    id, user_id, quiz_id, started_at,
    expires_at,
    closes_at,
    grace_seconds, on_expiry, time_factor, max_attempts, attempt, metadata,
    last_saved_at, created_at, updated_at, start_key, start_digest
  )
  select
    w.id, w.user_id, w.quiz_id, now,
    now + nullif(w.time_limit_seconds, 0) * w.time_factor * interval '1 second',
    now + nullif(w.time_limit_seconds, 0) * w.time_factor * interval '1 second' + w.grace_seconds * interval '1 second',
    w.grace_seconds, w.on_expiry, w.time_factor, w.most, w.attempts + 1, w.metadata,
    now, now, now, w.key, w.digest
  from wanted as w, clock
  where w.most is null or (w.locked and w.attempts < w.most)
  -- All batches insert in one order: starts that wait for each other's keys cannot deadlock.
  order by w.user_id, w.key
  on conflict (user_id, start_key) where start_key is not null do nothing
  returning *
),
logged as (
  insert into session_events (session_id, version, type, at, actor, client_id, request_id, trace_id, data)
  select
    s.id, s.version, 'session.started', s.started_at, asked.actor, asked.client_id, asked.request_id, asked.trace_id,
    asked.shown || jsonb_build_object(
      'expires_at', to_char(s.expires_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
      'closes_at', to_char(s.closes_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
      'max_attempts', s.max_attempts,
      'attempt', s.attempt
    )
  from started as s
  join asked on asked.id = s.id
  returning session_id, version
),
unplaced as (
  insert into unplaced_events (session_id, version)
  select session_id, version
  from logged
),
found as materialized (
  select id, ordinality, verdict from known
  union all select id, ordinality, verdict from running
  union all select id, ordinality, verdict from exhausted
),
results as (
  select s.*, found.verdict, found.ordinality
  from found join quiz_sessions as s on s.id = found.id
  union all
  select started.*, 'ok', asked.ordinality
  from started join asked on asked.id = started.id
)
select
  id, status, version, user_id, quiz_id, current_question, answers,
  annotations, attempt, metadata, started_at, expires_at, closes_at, on_expiry,
  late_saves, last_saved_at, completed_at, ended_by, created_at, updated_at, paused_at,
  verdict, now as checked_at, ordinality
from results, clock;
