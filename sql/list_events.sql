-- name: list_events :one
-- in:  after bigint?, types text[]?, quiz_ids text[]?, except_user text?, count integer
-- out: era uuid, shard integer, newest bigint, trimmed bigint, reached bigint, found integer, items json
--
-- Lists up to `count` events after a position, or from the oldest one, as they are in the contract. `reached` is the
-- last position that was looked at: a page has less events than `count` if its body would have more than 1 MiB, or after
-- 10 000 positions of which the filters let few pass. Events of the excepted user's sessions are left out of `items` alone.
with feed as materialized (
  select era, shard, newest, trimmed, greatest(least(coalesce(%(after)s::bigint, 0), newest), trimmed) as begin
  from event_feeds
  where shard = 0
),
matching as materialized (
  select
    position, session_id, version, quiz_id,
    row_number() over in_order as number,
    sum(bytes) over in_order as total_bytes
  from event_positions
  where position > (select begin from feed)
    and position <= (select begin from feed) + 10000
    and (%(types)s::text[] is null or type = any (%(types)s::text[]))
    and (%(quiz_ids)s::text[] is null or quiz_id = any (%(quiz_ids)s::text[]))
  window in_order as (order by position rows unbounded preceding)
  order by position
  limit %(count)s::integer
),
page as materialized (
  select *
  from matching
  where number = 1
    or total_bytes < 1048576 - 1024
),
counted as (
  select
    (select count(*) from matching) as matching,
    count(*) as found,
    max(position) as last
  from page
)
select
  era, shard, newest, trimmed,
  case
    when found = %(count)s::integer or found < matching then last
    else least(begin + 10000, newest)
  end as reached,
  found::integer as found,
  coalesce(
    (
      select
        json_agg(
          json_build_object(
            'session_id', e.session_id,
            'user_id', s.user_id,
            'quiz_id', case
              -- An integer up to 2^53 - 1 is shown as such.
              when page.quiz_id !~ '^(0|[1-9][0-9]{0,15})$' then to_json(page.quiz_id)
              when page.quiz_id::bigint > 9007199254740991 then to_json(page.quiz_id)
              else to_json(page.quiz_id::bigint)
            end,
            'version', e.version,
            'type', e.type,
            'at', to_char(e.at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
            'actor', e.actor,
            'client_id', e.client_id,
            'request_id', e.request_id,
            'trace_id', e.trace_id,
            'data', e.data
          )
          order by page.position
        ) filter (where %(except_user)s::text is null or s.user_id is distinct from %(except_user)s::text)
      from page
      join session_events as e on e.session_id = page.session_id and e.version = page.version
      left join quiz_sessions as s on s.id = page.session_id
    ),
    '[]'
  ) as items
from feed
cross join counted;
