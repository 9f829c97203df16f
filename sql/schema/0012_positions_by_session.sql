-- no-transaction
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
--
-- The positions of a session's events, which are erased with it.
drop index concurrently if exists event_positions_by_session;

create index concurrently if not exists event_positions_by_session
on event_positions (session_id);
