-- name: write_session :maybe
-- in:  id uuid, changes jsonb, current_question integer?, version integer?, completes boolean,
-- in:  key text?, digest text?
-- out: id uuid, user_id text, quiz_id integer, current_question integer, answers jsonb, status text,
-- out: version integer, started_at timestamptz, expires_at timestamptz, last_saved_at timestamptz,
-- out: completed_at timestamptz?, created_at timestamptz, updated_at timestamptz,
-- out: verdict text, judged_at timestamptz
--
-- Every change of a running session: saves and the completion are one statement,
-- so that the row is locked, judged and written in one round trip.
with held as materialized (
  select s
  from quiz_sessions as s
  where s.id = %(id)s
  for update
),
-- The clock is read in a step of its own, above the lock: a write that waited for
-- the row across expires_at must find itself late.
clocked as materialized (
  select
    s,
    date_trunc('milliseconds', clock_timestamp()) as judged_at,
    jsonb_strip_nulls((s).answers || %(changes)s::jsonb) as merged
  from held
),
judged as materialized (
  select
    s, judged_at, merged,
    case
      when (s).status = 'completed' then case when %(completes)s::boolean then 'repeated' else 'completed' end
      when (s).status = 'expired' or (s).expires_at <= judged_at then 'expired'
      when %(key)s::text || ' ' || %(digest)s::text = any ((s).recent_writes) then 'repeated'
      when exists (
        select from unnest((s).recent_writes) as recent where split_part(recent, ' ', 1) = %(key)s::text
      ) then 'key_reused'
      when (s).version <> %(version)s::integer then 'conflict'
      when octet_length(merged::text) > 1048576
        or (select count(*) from jsonb_object_keys(merged)) > 10000 then 'too_large'
      else 'ok'
    end as verdict
  from clocked
),
written as (
  update quiz_sessions as t
  set
    answers = merged,
    current_question = coalesce(%(current_question)s::integer, t.current_question),
    version = t.version + 1,
    last_saved_at = judged_at,
    updated_at = judged_at,
    status = case when %(completes)s::boolean then 'completed' else t.status end,
    completed_at = case when %(completes)s::boolean then judged_at end,
    recent_writes = case
      when %(key)s::text is null then t.recent_writes
      else array_prepend(%(key)s::text || ' ' || %(digest)s::text, t.recent_writes[:15])
    end
  from judged
  where t.id = (s).id
    and verdict = 'ok'
  returning t
),
told as (
  select coalesce(t, s) as r, verdict, judged_at
  from judged left join written on true
)
select
  (r).id, (r).user_id, (r).quiz_id, (r).current_question, (r).answers,
  case when verdict = 'expired' then 'expired' else (r).status end as status,
  (r).version, (r).started_at, (r).expires_at, (r).last_saved_at, (r).completed_at,
  (r).created_at, (r).updated_at,
  verdict, judged_at
from told;
