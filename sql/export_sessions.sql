-- name: export_sessions :many unprepared
-- in:  user_id text?, quiz_id text?, status text?, before_ms bigint?, before_id uuid?, count integer, max_bytes integer
-- out: id uuid, user_id text, quiz_id text, current_question text, status text, started_at timestamptz,
-- out: expires_at timestamptz?, last_saved_at timestamptz, completed_at timestamptz?, created_at timestamptz,
-- out: updated_at timestamptz, version integer?, answered integer, late_saves integer, paused_at timestamptz?,
-- out: ended_by text?, attempt integer?, metadata jsonb, client_ids text[], answers jsonb?, annotations jsonb?,
-- out: passes boolean, scanned integer
--
-- Reads the next `count` sessions in the order of list_sessions, and returns those of the status, as list_sessions shows
-- them. A page ends before `max_bytes`, but has at least one session. Its last row is the last session that was read, of
-- the status or not, with the number of sessions that were read: the next page starts behind it, and no page searches the
-- whole table for a status. Unprepared, as list_sessions.
with clock as materialized (
  select clock_timestamp() as now
),
following as (
  select
    id, user_id, quiz_id, current_question, shown.status, started_at, expires_at, last_saved_at,
    case when shown.status = 'completed' then coalesce(completed_at, closes_at) end as completed_at,
    created_at, updated_at,
    case when not overdue then version end as version,
    answers, annotations, late_saves, paused_at,
    case when overdue then 'deadline' else ended_by end as ended_by,
    attempt, metadata,
    %(status)s::text is null or shown.status = %(status)s::text as passes
  from quiz_sessions as s
  cross join clock
  cross join lateral (
    select coalesce(s.status = 'in_progress' and closes_at <= now, false) as overdue
  ) as timed
  cross join lateral (
    select
      case
        when not overdue then s.status
        when on_expiry = 'complete' then 'completed'
        else 'expired'
      end as status
  ) as shown
  where (%(user_id)s::text is null or user_id = %(user_id)s::text)
    and (%(quiz_id)s::text is null or quiz_id = %(quiz_id)s::text)
    and (
      %(before_id)s::uuid is null
      or (created_at, id)
        < (timestamptz 'epoch' + %(before_ms)s::bigint * interval '1 millisecond', %(before_id)s::uuid)
    )
  order by created_at desc, id desc
  limit %(count)s::integer
),
measured as (
  select
    *,
    row_number() over in_order as number,
    -- Beside its JSON a session has at most 4 KiB.
    sum(
      case
        when passes
          then octet_length(answers::text) + octet_length(annotations::text) + octet_length(metadata::text) + 4096
        else 0
      end
    ) over in_order as total_bytes
  from following
  window in_order as (order by created_at desc, id desc)
),
page as (
  select *
  from measured
  where number = 1 or total_bytes < %(max_bytes)s::integer
)
select
  id, user_id, quiz_id, current_question, status, started_at, expires_at, last_saved_at, completed_at, created_at,
  updated_at, version,
  case when passes then (select count(*) from jsonb_object_keys(answers)) else 0 end::integer as answered,
  late_saves, paused_at, ended_by, attempt, metadata,
  array_remove(array[first_save.client_id, nullif(last_save.client_id, first_save.client_id)], null) as client_ids,
  case when passes then answers end as answers,
  case when passes then annotations end as annotations,
  passes, number::integer as scanned
from page
-- The index finds each of the two in one step or a few. The saves in between would be read one by one.
left join lateral (
  select client_id
  from session_events
  where session_id = page.id
    and type = 'session.saved'
  order by version
  limit 1
) as first_save on true
left join lateral (
  select client_id
  from session_events
  where session_id = page.id
    and type = 'session.saved'
  order by version desc
  limit 1
) as last_save on true
where passes or number = (select max(number) from page)
order by number;
