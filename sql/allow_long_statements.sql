-- name: allow_long_statements :count
-- in:  local boolean
--
-- Resets the settings of configure that are for requests, until the transaction or the connection ends: a migration may
-- run for long and scan whole tables.
-- The lock timeout is that of 0000_schema_migrations.sql: outside of a transaction a migration takes no lock that stops
-- writes, and may wait for long for the end of other transactions.
select
from (
  select set_config(name, value, %(local)s::boolean)
  from (
    values
      ('statement_timeout', '0'),
      ('lock_timeout', '0'),
      ('enable_seqscan', 'on'),
      ('enable_hashjoin', 'on'),
      ('enable_mergejoin', 'on')
  ) as lifted (name, value)
) as settings;
