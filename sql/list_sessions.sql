-- name: list_sessions :many unprepared
-- in:  user_id text?, quiz_id integer?, status text?, before_ms bigint?, before_id uuid?, count integer
-- out: id uuid, user_id text, quiz_id integer, current_question integer, status text, started_at timestamptz,
-- out: expires_at timestamptz, last_saved_at timestamptz, completed_at timestamptz?, created_at timestamptz,
-- out: updated_at timestamptz
--
-- Lists sessions, newest first. Unprepared, so that it is planned for the filters in use: each combination of them
-- has its own index.
with clock as materialized (
  select clock_timestamp() as now
)
select
  id, user_id, quiz_id, current_question,
  case when status = 'in_progress' and expires_at <= now then 'expired' else status end as status,
  started_at, expires_at, last_saved_at, completed_at, created_at, updated_at
from quiz_sessions, clock
where (%(user_id)s::text is null or user_id = %(user_id)s::text)
  and (%(quiz_id)s::integer is null or quiz_id = %(quiz_id)s::integer)
  and (
    %(status)s::text is null
    or case when status = 'in_progress' and expires_at <= now then 'expired' else status end = %(status)s::text
  )
  and (
    %(before_id)s::uuid is null
    or (created_at, id)
      < (timestamptz 'epoch' + %(before_ms)s::bigint * interval '1 millisecond', %(before_id)s::uuid)
  )
order by created_at desc, id desc
limit %(count)s::integer;
