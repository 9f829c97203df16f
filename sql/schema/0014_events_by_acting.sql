-- no-transaction
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
--
-- The lines of a party that acted for another one, by its name; as session_events_by_staff.
drop index concurrently if exists session_events_by_acting;

create index concurrently if not exists session_events_by_acting
on session_events ((actor ->> 'acting'))
where actor ? 'acting';
