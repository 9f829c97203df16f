-- name: configure :count
--
-- Sets each connection of the service and of bin/migrate to fixed values of every setting that could change what a
-- statement means or returns, whatever the server, the database, the role, the URL or the environment asks for.
-- A setting that this PostgreSQL does not have is skipped; client_encoding is a connection parameter (pool.py).
-- Judged and left as they are:
--
--   default_transaction_read_only  how operators and providers freeze a database: writes are 503, never bypassed
--   role, default_tablespace, default_table_access_method, default_toast_compression   the operator's choice
--   lc_*, quote_all_identifiers, timezone_abbreviations, default_text_search_config    no statement depends on them
--   *_cost, work_mem, other enable_*, parallel workers, jit_*, geqo, io, vacuum_*      plans and speed, not results
--   log_*, track_*, debug_print_*  what the server writes about itself
--
-- Those that only a superuser may set are checked by list_unfit_settings instead. tests/test_database_settings.py
-- sets all the others to other values and expects exact replies.
--
-- Names are qualified: until search_path is set, another schema could shadow the functions.
select
from (
  select pg_catalog.set_config(name, value, false)
  from (
    values
      -- How values are written in results and read from parameters.
      ('datestyle', 'ISO, MDY'),
      ('intervalstyle', 'postgres'),
      ('timezone', 'UTC'),
      ('bytea_output', 'hex'),
      ('extra_float_digits', '1'),
      ('xmlbinary', 'base64'),
      ('xmloption', 'content'),
      ('array_nulls', 'on'),
      -- How the text of a statement is read.
      ('standard_conforming_strings', 'on'),
      ('backslash_quote', 'safe_encoding'),
      ('transform_null_equals', 'off'),
      -- The tables' schema alone: the one of the search_path that has them, or else its first. pg_catalog is
      -- searched before it, pg_temp after it, so that no other object shadows a table, a type or a function.
      ('search_path', (
        select coalesce(
          (
            select pg_catalog.quote_ident(nspname)
            from pg_catalog.pg_class as c
            join pg_catalog.pg_namespace as n on n.oid = c.relnamespace
            where c.oid = pg_catalog.to_regclass('schema_migrations')
          ),
          pg_catalog.quote_ident(pg_catalog.current_schema())
        ) || ', pg_temp'
      )),
      -- A row that was waited for is judged as it is then, and a commit is on the disk.
      ('default_transaction_isolation', 'read committed'),
      ('default_transaction_deferrable', 'off'),
      ('synchronous_commit', case
        when pg_catalog.current_setting('synchronous_commit') = 'remote_apply' then 'remote_apply' else 'on'
      end),
      -- A policy that hides rows is an error instead of a session that is missing.
      ('row_security', 'off'),
      ('exit_on_error', 'off'),
      ('client_min_messages', 'warning'),
      -- Nothing goes on for longer than a request waits, no lock is held for a service that has gone in the
      -- middle of a transaction, and idle connections stay.
      ('lock_timeout', '2s'),
      ('statement_timeout', '5s'),
      ('idle_in_transaction_session_timeout', '5s'),
      ('idle_session_timeout', '0'),
      ('transaction_timeout', '0'),
      -- Plans are made once and kept: one that was made while the table was small must not read it whole when
      -- it has grown. Compiling one takes longer than running it.
      ('plan_cache_mode', 'auto'),
      ('enable_seqscan', 'off'),
      ('enable_hashjoin', 'off'),
      ('enable_mergejoin', 'off'),
      ('jit', 'off')
  ) as pin (name, value)
  where value is not null
    and pg_catalog.current_setting(name, true) is not null
) as pinned;
