-- name: start_session :one
-- in:  id uuid, user_id text, quiz_id integer, time_limit_seconds integer
-- out: id uuid, user_id text, quiz_id integer, current_question integer, answers jsonb, status text,
-- out: version integer, started_at timestamptz, expires_at timestamptz, last_saved_at timestamptz,
-- out: completed_at timestamptz?, created_at timestamptz, updated_at timestamptz,
-- out: verdict text, judged_at timestamptz
with clock as materialized (
  select date_trunc('milliseconds', clock_timestamp()) as now
)
insert into quiz_sessions (
  id, user_id, quiz_id, started_at, expires_at, last_saved_at, created_at, updated_at
)
select
  %(id)s, %(user_id)s, %(quiz_id)s,
  now, now + make_interval(secs => %(time_limit_seconds)s::integer), now, now, now
from clock
returning
  id, user_id, quiz_id, current_question, answers, status, version, started_at, expires_at,
  last_saved_at, completed_at, created_at, updated_at,
  'ok' as verdict, created_at as judged_at;
