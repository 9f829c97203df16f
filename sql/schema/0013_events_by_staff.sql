-- no-transaction
-- squawk-ignore-file ban-concurrent-index-creation-in-transaction
--
-- The lines by staff, by its name: erasing a user removes it as the actor in other users' sessions. A learner's own lines
-- are not in the index.
drop index concurrently if exists session_events_by_staff;

create index concurrently if not exists session_events_by_staff
on session_events ((actor ->> 'subject'))
where actor ->> 'type' = 'staff';
