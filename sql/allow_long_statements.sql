-- name: allow_long_statements :count
--
-- Lifts those settings of configure that are for requests: a migration may take its time and read whole tables.
select
from (
  select set_config(name, value, false)
  from (
    values
      ('statement_timeout', '0'),
      ('enable_seqscan', 'on'),
      ('enable_hashjoin', 'on'),
      ('enable_mergejoin', 'on')
  ) as lifted (name, value)
) as settings;
