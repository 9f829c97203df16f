-- name: measure_backlogs :one
-- out: sweeper_lag bigint, unplaced_events bigint, unplaced_event_age bigint, journal_bytes bigint
--
-- Measures the backlogs of the background tasks, times in milliseconds: for how long the session that is longest overdue is, and the number and
-- the age of the events that have no position in the feed; and the size of the journal with its indexes. Reads no more
-- than 10 000 events, so that the statement stays cheap in a backlog.
with overdue as (
  select min(closes_at) as closes_at
  from quiz_sessions
  where status = 'in_progress'
    and closes_at <= clock_timestamp()
),
unplaced as (
  select session_id, version
  from unplaced_events
  order by arrival
  limit 10000
),
oldest as (
  select e.at
  from (select session_id, version from unplaced limit 1) as u
  join session_events as e using (session_id, version)
)
select
  coalesce(1000 * extract(epoch from clock_timestamp() - overdue.closes_at), 0)::bigint as sweeper_lag,
  (select count(*) from unplaced) as unplaced_events,
  coalesce(1000 * extract(epoch from clock_timestamp() - (select at from oldest)), 0)::bigint as unplaced_event_age,
  pg_total_relation_size('session_events') as journal_bytes
from overdue;
