-- name: configure :count
--
-- What each connection of the service is set to. Plans are made once and kept: one that was made while the
-- table was small must not read it whole when it has grown. Nothing goes on for longer than a request waits, and
-- no lock is held for a service that has gone in the middle of a transaction. Whatever the database or the role is
-- set to, what was committed is on the disk, and a row that was waited for is judged as it is then.
select
from (
  select
    set_config('enable_seqscan', 'off', false),
    set_config('enable_hashjoin', 'off', false),
    set_config('enable_mergejoin', 'off', false),
    set_config('lock_timeout', '2s', false),
    set_config('statement_timeout', '5s', false),
    set_config('idle_in_transaction_session_timeout', '5s', false),
    set_config('timezone', 'UTC', false),
    set_config('default_transaction_isolation', 'read committed', false),
    case
      when current_setting('synchronous_commit') <> 'remote_apply'
        then set_config('synchronous_commit', 'on', false)
    end
) as settings;
