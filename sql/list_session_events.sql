-- name: list_session_events :many
-- in:  id uuid, owner text?, quizzes text[], after integer, count integer
-- out: version integer, first_version integer?, next_after integer?, items json, expires_at timestamptz?,
-- out: overdue boolean, checked_at timestamptz
--
-- Lists up to `count` lines of a session's journal after a version, oldest first. No row if the session does not exist
-- or, with an owner, belongs to another user and to none of the quizzes; an overdue session is left to write_sessions.
-- The lines are as in the contract; an owner sees the actor, the client, the request and the trace in
-- its own lines only.
--
-- The lines are read one by one, since they differ much in size: a page of them has at most 1 MiB, less the rest of the
-- body, but at least one line.
with recursive session as materialized (
  select
    id, user_id, version, case when status <> 'paused' then expires_at end as expires_at, status, closes_at,
    date_trunc('milliseconds', clock_timestamp()) as checked_at
  from quiz_sessions
  where id = %(id)s
    and (%(owner)s::text is null or user_id = %(owner)s::text or quiz_id = any (%(quizzes)s::text[]))
),
page as (
  select 0 as number, %(after)s::integer as version, null::json as line, 0 as bytes
  union all
  select page.number + 1, following.version, following.line, page.bytes + octet_length(following.line::text) + 2
  from page
  cross join lateral (
    select
      e.version,
      json_build_object(
        'version', e.version,
        'type', e.type,
        'at', to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
        'actor', case when open then e.actor end,
        'client_id', case when open then e.client_id end,
        'request_id', case when open then e.request_id end,
        'trace_id', case when open then e.trace_id end,
        'data', e.data
      ) as line
    from session_events as e
    cross join lateral (
      select
        %(owner)s::text is distinct from (select user_id from session)
        or e.actor = jsonb_build_object('type', 'learner', 'subject', %(owner)s::text) as open
    ) as judged
    where e.session_id = (select id from session)
      and e.version > page.version
    order by e.version
    limit 1
  ) as following
  where page.number < %(count)s::integer
    and (page.number = 0 or page.bytes + octet_length(following.line::text) < 1048576 - 256)
),
ended as (
  select max(version) as version
  from page
)
select
  session.version,
  (
    select e.version
    from session_events as e
    where e.session_id = session.id
    order by e.version
    limit 1
  ) as first_version,
  case
    when exists (select from session_events as e where e.session_id = session.id and e.version > ended.version)
      then ended.version
  end as next_after,
  coalesce((select json_agg(line order by version) from page where number > 0), '[]') as items,
  expires_at,
  coalesce(status = 'in_progress' and closes_at <= checked_at, false) as overdue,
  checked_at
from session
cross join ended;
