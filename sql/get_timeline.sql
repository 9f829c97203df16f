-- name: get_timeline :one unprepared
-- out: cluster bigint, timeline integer?
--
-- Returns the identifier of the database cluster, which its standbys have, too, and the timeline that the server writes:
-- each promotion begins the next one. A standby writes none.
select
  (select system_identifier from pg_control_system()) as cluster,
  case
    when not pg_is_in_recovery()
      then ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::integer
  end as timeline;
