-- name: start_sessions :many
-- in:  starts jsonb
-- record: id uuid, user_id text, quiz_id integer, time_limit_seconds integer, key text?, digest text?,
-- record: resume boolean, ordinality integer
-- out: id uuid, user_id text, quiz_id integer, current_question integer, answers jsonb, status text,
-- out: version integer, started_at timestamptz, expires_at timestamptz, last_saved_at timestamptz,
-- out: completed_at timestamptz?, created_at timestamptz, updated_at timestamptz,
-- out: verdict text, checked_at timestamptz, ordinality integer
--
-- A batch has at most one start of a user's key, and at most one resume of a user's quiz. A start without a row
-- has lost a race against another transaction with the same key, which committed after this statement's snapshot:
-- the statement run again returns the winner's session.
with clock as materialized (
  select date_trunc('milliseconds', clock_timestamp()) as now
),
asked as materialized (
  select *
  from jsonb_to_recordset(%(starts)s::jsonb) as a (
    id uuid, user_id text, quiz_id integer, time_limit_seconds integer, key text, digest text, resume boolean,
    ordinality integer
  )
),
known as materialized (
  select
    s, a.ordinality,
    -- Digests by another DIGEST_KEY or an older release cannot be compared: they count as equal.
    case
      when s.start_digest <> a.digest and split_part(s.start_digest, '.', 1) = split_part(a.digest, '.', 1)
        then 'key_reused'
      else 'repeated'
    end as verdict
  from asked as a
  join quiz_sessions as s on s.user_id = a.user_id and s.start_key = a.key
),
running as materialized (
  select newest.s, a.ordinality
  from asked as a
  cross join clock
  cross join lateral (
    select s
    from quiz_sessions as s
    where s.user_id = a.user_id
      and s.quiz_id = a.quiz_id
      and s.status = 'in_progress'
      and s.expires_at > now
    order by s.created_at desc, s.id desc
    limit 1
  ) as newest
  where a.resume
    and not exists (select from known where known.ordinality = a.ordinality)
),
started as (
  insert into quiz_sessions as s (
    id, user_id, quiz_id, started_at, expires_at, last_saved_at, created_at, updated_at, start_key, start_digest
  )
  select
    id, user_id, quiz_id,
    now, now + make_interval(secs => time_limit_seconds), now, now, now,
    key, digest
  from asked as a, clock
  where not exists (select from known where known.ordinality = a.ordinality)
    and not exists (select from running where running.ordinality = a.ordinality)
  -- All batches insert in one order: starts that wait for each other's keys cannot deadlock.
  order by user_id, key
  on conflict (user_id, start_key) where start_key is not null do nothing
  returning s
),
results as (
  select s as r, verdict, ordinality from known
  union all select s, 'resumed', ordinality from running
  union all select s, 'ok', a.ordinality from started join asked as a on a.id = (s).id
)
select
  (r).id, (r).user_id, (r).quiz_id, (r).current_question, (r).answers,
  case when (r).status = 'in_progress' and (r).expires_at <= now then 'expired' else (r).status end as status,
  (r).version, (r).started_at, (r).expires_at, (r).last_saved_at, (r).completed_at,
  (r).created_at, (r).updated_at,
  verdict, now as checked_at, ordinality
from results, clock;
