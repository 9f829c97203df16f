-- name: list_sessions :many unprepared
-- in:  owner text?, quizzes text[], user_id text?, quiz_id text?, status text?, before_ms bigint?, before_id uuid?,
-- in:  count integer, with_answers boolean
-- out: id uuid, user_id text, quiz_id text, current_question text, status text, started_at timestamptz,
-- out: expires_at timestamptz?, last_saved_at timestamptz, completed_at timestamptz?, created_at timestamptz,
-- out: updated_at timestamptz, version integer?, answered integer, late_saves integer, paused_at timestamptz?,
-- out: ended_by text?, attempt integer?, metadata jsonb, client_ids text[], answers jsonb?, annotations jsonb?
--
-- Lists sessions, newest first: all of them without an owner, otherwise those of the owner and those of the quizzes. An
-- overdue one is shown as ended, which is not stored, and without a version. Unprepared, so that it is planned for the
-- filters in use: each combination of them has its own index. Each quiz is read by itself, since an index has the order
-- of one quiz only.
--
-- With answers, and annotations beside them, a page ends before 4 MiB, but has at least one session. The first one that does
-- not fit comes without its answers, so that the caller sees that there are more.
with clock as materialized (
  select clock_timestamp() as now
),
wanted as not materialized (
  select
    id, user_id, quiz_id, current_question, shown.status, started_at, expires_at, last_saved_at,
    case when shown.status = 'completed' then coalesce(completed_at, closes_at) end as completed_at,
    created_at, updated_at,
    case when not overdue then version end as version,
    answers, annotations, late_saves, paused_at,
    case when overdue then 'deadline' else ended_by end as ended_by,
    attempt, metadata
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
    and (%(status)s::text is null or shown.status = %(status)s::text)
    -- For the index of the running and paused sessions of a quiz.
    and (%(status)s::text is null or %(status)s::text in ('completed', 'expired') or s.status = %(status)s::text)
    and (
      %(before_id)s::uuid is null
      or (created_at, id)
        < (timestamptz 'epoch' + %(before_ms)s::bigint * interval '1 millisecond', %(before_id)s::uuid)
    )
),
owned as (
  select *
  from wanted
  where (%(owner)s::text is null or user_id = %(owner)s::text)
    and (cardinality(%(quizzes)s::text[]) = 0 or quiz_id <> all (%(quizzes)s::text[]))
  order by created_at desc, id desc
  limit %(count)s::integer
),
proctored as (
  select newest.*
  from unnest(%(quizzes)s::text[]) as quiz (id)
  cross join lateral (
    select *
    from wanted
    where wanted.quiz_id = quiz.id
    order by created_at desc, id desc
    limit %(count)s::integer
  ) as newest
  where cardinality(%(quizzes)s::text[]) > 0
),
page as (
  select * from owned
  union all
  select * from proctored
  order by created_at desc, id desc
  limit %(count)s::integer
),
measured as (
  select
    *,
    row_number() over in_order as number,
    -- Beside the answers and the metadata a session has at most 4 KiB.
    sum(
      case
        when %(with_answers)s::boolean
          then octet_length(answers::text) + octet_length(annotations::text) + octet_length(metadata::text) + 4096
      end
    ) over in_order as total_bytes
  from page
  window in_order as (order by created_at desc, id desc)
),
fitted as (
  select
    *,
    number = 1 or total_bytes < 4194304 as fits,
    lag(number = 1 or total_bytes < 4194304) over (order by number) as previous_fits
  from measured
)
select
  id, user_id, quiz_id, current_question, status, started_at, expires_at, last_saved_at, completed_at, created_at,
  updated_at, version,
  -- Only of the sessions of the page: the answers have to be read.
  (select count(*) from jsonb_object_keys(answers))::integer as answered,
  late_saves, paused_at, ended_by, attempt, metadata,
  array_remove(array[first_save.client_id, nullif(last_save.client_id, first_save.client_id)], null) as client_ids,
  case when %(with_answers)s::boolean and fits then answers end as answers,
  case when %(with_answers)s::boolean and fits then annotations end as annotations
from fitted
cross join lateral (
  -- The owner sees no other actor, as in list_session_events.
  select jsonb_build_object('type', 'learner', 'subject', %(owner)s::text) as owner_actor
) as judged
-- The index finds each of the two in one step or a few. The saves in between would be read one by one.
left join lateral (
  select client_id
  from session_events
  where session_id = fitted.id
    and type = 'session.saved'
    and (%(owner)s::text is distinct from fitted.user_id or actor = owner_actor)
  order by version
  limit 1
) as first_save on true
left join lateral (
  select client_id
  from session_events
  where session_id = fitted.id
    and type = 'session.saved'
    and (%(owner)s::text is distinct from fitted.user_id or actor = owner_actor)
  order by version desc
  limit 1
) as last_save on true
where not %(with_answers)s::boolean or fits or previous_fits
order by number;
