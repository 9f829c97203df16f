-- name: start_session :maybe
-- in:  id uuid, user_id text, quiz_id integer, time_limit_seconds integer,
-- in:  key text?, digest text?, resume boolean
-- out: id uuid, user_id text, quiz_id integer, current_question integer, answers jsonb, status text,
-- out: version integer, started_at timestamptz, expires_at timestamptz, last_saved_at timestamptz,
-- out: completed_at timestamptz?, created_at timestamptz, updated_at timestamptz,
-- out: verdict text, judged_at timestamptz
--
-- No row: a start with the same key won the race, and this statement's snapshot is older than its
-- commit. Run again, it finds what the other one made.
with clock as materialized (
  select date_trunc('milliseconds', clock_timestamp()) as now
),
known as (
  select s, case when s.start_digest = %(digest)s::text then 'repeated' else 'key_reused' end as verdict
  from quiz_sessions as s
  where s.user_id = %(user_id)s::text
    and s.start_key = %(key)s::text
),
running as (
  select s, 'resumed' as verdict
  from quiz_sessions as s, clock
  where %(resume)s::boolean
    and not exists (select from known)
    and s.user_id = %(user_id)s::text
    and s.quiz_id = %(quiz_id)s::integer
    and s.status = 'in_progress'
    and s.expires_at > now
  order by s.created_at desc, s.id desc
  limit 1
),
started as (
  insert into quiz_sessions as s (
    id, user_id, quiz_id, started_at, expires_at, last_saved_at, created_at, updated_at, start_key, start_digest
  )
  select
    %(id)s::uuid, %(user_id)s::text, %(quiz_id)s::integer,
    now, now + make_interval(secs => %(time_limit_seconds)s::integer), now, now, now,
    %(key)s::text, %(digest)s::text
  from clock
  where not exists (select from known)
    and not exists (select from running)
  on conflict (user_id, start_key) where start_key is not null do nothing
  returning s, 'ok' as verdict
),
told as (
  select s as r, verdict from known
  union all select s, verdict from running
  union all select s, verdict from started
)
select
  (r).id, (r).user_id, (r).quiz_id, (r).current_question, (r).answers,
  case when (r).status = 'in_progress' and (r).expires_at <= now then 'expired' else (r).status end as status,
  (r).version, (r).started_at, (r).expires_at, (r).last_saved_at, (r).completed_at,
  (r).created_at, (r).updated_at,
  verdict, now as judged_at
from told, clock;
