-- Apart from 0005, so that the scan holds no lock that stops writes.
alter table quiz_sessions validate constraint quiz_sessions_paused_has_time;
alter table quiz_sessions validate constraint quiz_sessions_paused_closes_never;
alter table quiz_sessions validate constraint quiz_sessions_recent_orders_few;
