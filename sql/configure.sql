-- name: configure :count
--
-- What each connection of the service is set to. Plans are made once and kept: one that was made while the
-- table was small must not read it whole when it has grown. Nothing goes on for longer than a request waits, and
-- no lock is held for a service that has gone in the middle of a transaction.
select
from (
  select
    set_config('enable_seqscan', 'off', false),
    set_config('enable_hashjoin', 'off', false),
    set_config('enable_mergejoin', 'off', false),
    set_config('lock_timeout', '2s', false),
    set_config('statement_timeout', '5s', false),
    set_config('idle_in_transaction_session_timeout', '5s', false),
    set_config('timezone', 'UTC', false)
) as settings;
