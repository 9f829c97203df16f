-- The trace id of the request that made a change (W3C Trace Context); null for a request without one, for a change by the
-- service itself, and in lines of a service that does not know the column. A column without a default takes no time.
alter table session_events add column trace_id text;
