-- name: list_due_deliveries :many
-- in:  webhook text, count integer
-- out: position bigint, session_id uuid, version integer, attempts integer, failing_seconds integer, message json?,
-- out: trace_id text?
--
-- Lists up to `count` deliveries that are due, those first that are due for the longest time, with their messages, whose
-- data are the events as list_events has them. An event waits for earlier ones of its session; that of an erased session
-- comes first. A delivery whose line was erased is due at once, and has no message. `failing_seconds` is the time since
-- the first failed attempt, 0 without one.
with due as materialized (
  select d.*, e.type
  from webhook_deliveries as d
  join webhook_endpoints as w on w.name = d.webhook and w.disabled_at is null
  left join session_events as e on e.session_id = d.session_id and e.version = d.version
  where d.webhook = %(webhook)s::text
    and (d.next_at <= clock_timestamp() or e.type is null)
    and (
      e.type is null
      or e.type = 'session.erased'
      or not exists (
        select
        from webhook_deliveries as earlier
        where earlier.webhook = d.webhook
          and earlier.session_id = d.session_id
          and earlier.position < d.position
      )
    )
  order by coalesce(e.type, 'session.erased') <> 'session.erased', d.next_at, d.position
  limit %(count)s::integer
)
select
  due.position, due.session_id, due.version, due.attempts,
  coalesce(extract(epoch from clock_timestamp() - due.failed_at), 0)::integer as failing_seconds,
  case
    when e.type is not null
    then json_build_object(
      'type', e.type,
      'timestamp', times.at,
      'data', json_build_object(
        'session_id', e.session_id,
        'user_id', s.user_id,
        'quiz_id', case
          -- An integer up to 2^53 - 1 is shown as such.
          when q.quiz_id !~ '^(0|[1-9][0-9]{0,15})$' then to_json(q.quiz_id)
          when q.quiz_id::bigint > 9007199254740991 then to_json(q.quiz_id)
          else to_json(q.quiz_id::bigint)
        end,
        'version', e.version,
        'type', e.type,
        'at', times.at,
        'actor', e.actor,
        'client_id', e.client_id,
        'request_id', e.request_id,
        'trace_id', e.trace_id,
        'data', e.data
      )
    )
  end as message,
  e.trace_id
from due
left join session_events as e on e.session_id = due.session_id and e.version = due.version
left join quiz_sessions as s on s.id = due.session_id
left join event_positions as p on p.position = due.position
-- The position may be trimmed, and the session erased: its last line has the quiz.
cross join lateral (select coalesce(p.quiz_id, s.quiz_id, e.data ->> 'quiz_id') as quiz_id) as q
cross join lateral (select to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') as at) as times
order by coalesce(e.type, 'session.erased') <> 'session.erased', due.next_at, due.position;
