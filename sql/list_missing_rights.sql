-- name: list_missing_rights :many
-- out: name text
--
-- Lists the rights that the role of ERASE_DATABASE_URL needs and lacks: those that admit_role grants to it.
select needed.privilege || ' on ' || needed.place as name
from (
  values
    ('select', 'quiz_sessions', 'id'), ('select', 'quiz_sessions', 'user_id'), ('select', 'quiz_sessions', 'quiz_id'),
    ('select', 'quiz_sessions', 'status'), ('select', 'quiz_sessions', 'version'),
    ('select', 'quiz_sessions', 'created_at'), ('select', 'quiz_sessions', 'completed_at'),
    ('select', 'quiz_sessions', 'closes_at'), ('update', 'quiz_sessions', 'version'), ('delete', 'quiz_sessions', null),
    ('select', 'session_events', 'session_id'), ('select', 'session_events', 'version'),
    ('select', 'session_events', 'actor'), ('insert', 'session_events', null),
    ('update', 'session_events', 'actor'), ('update', 'session_events', 'client_id'),
    ('update', 'session_events', 'request_id'), ('update', 'session_events', 'trace_id'),
    ('delete', 'session_events', null),
    ('select', 'event_positions', 'session_id'), ('delete', 'event_positions', null),
    ('select', 'unplaced_events', 'session_id'), ('insert', 'unplaced_events', null),
    ('delete', 'unplaced_events', null),
    ('select', 'event_feeds', null), ('update', 'event_feeds', 'newest')
) as asked (privilege, relation, attribute)
cross join lateral (
  select
    privilege, relation,
    relation || coalesce('(' || attribute || ')', '') as place,
    case
      when attribute is null then has_table_privilege(relation, privilege)
      else has_column_privilege(relation, attribute, privilege)
    end as is_held
) as needed
where not needed.is_held;
