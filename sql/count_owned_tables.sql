-- name: count_owned_tables :count
--
-- Counts the tables that the service's role may alter or drop: 0 unless it is their owner or a superuser.
select
from pg_class
where oid in (
    'quiz_sessions'::regclass, 'session_events'::regclass, 'schema_migrations'::regclass,
    'quiz_orders'::regclass, 'unplaced_events'::regclass, 'event_positions'::regclass, 'event_feeds'::regclass,
    'webhook_endpoints'::regclass, 'webhook_deliveries'::regclass, 'fences'::regclass
  )
  and pg_has_role(relowner, 'usage');
