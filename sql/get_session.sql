-- name: get_session :maybe
-- in:  id uuid
-- out: id uuid, user_id text, quiz_id integer, current_question integer, answers jsonb, status text,
-- out: version integer, started_at timestamptz, expires_at timestamptz, last_saved_at timestamptz,
-- out: completed_at timestamptz?, created_at timestamptz, updated_at timestamptz,
-- out: verdict text, judged_at timestamptz
with clocked as (
  select
    id, user_id, quiz_id, current_question, answers, status, version, started_at, expires_at,
    last_saved_at, completed_at, created_at, updated_at,
    date_trunc('milliseconds', clock_timestamp()) as judged_at
  from quiz_sessions
  where id = %(id)s
),
judged as (
  select
    *,
    case
      when status = 'completed' then 'ok'
      when status = 'expired' or expires_at <= judged_at then 'expired'
      else 'ok'
    end as verdict
  from clocked
)
select
  id, user_id, quiz_id, current_question, answers,
  case when verdict = 'expired' then 'expired' else status end as status,
  version, started_at, expires_at, last_saved_at, completed_at, created_at, updated_at,
  verdict, judged_at
from judged;
