-- name: configure :count
--
-- Fixes, for a connection of the service or of bin/migrate, every setting that could change the meaning or the result
-- of a statement. These values override those of the server, the database, the role, the URL and the environment.
-- A setting that this PostgreSQL does not have is skipped; client_encoding is a connection parameter (connection.py).
-- Considered and left as they are:
--
--   default_transaction_read_only  how operators and providers freeze a database: writes get 503
--   role, default_tablespace, default_table_access_method, default_toast_compression   the operator's choice
--   lc_*, quote_all_identifiers, timezone_abbreviations, default_text_search_config    no statement depends on them
--   *_cost, work_mem, other enable_*, parallel workers, jit_*, geqo, io, vacuum_*      plans and speed, not results
--   log_*, track_*, debug_print_*  the server's logs and statistics
--
-- Settings that only a superuser can change are checked by list_unfit_settings instead.
-- tests/storage/test_role_settings.py changes all the others and expects exact responses.
--
-- Names are qualified: until search_path is set, another schema could shadow the functions.
select
from (
  select pg_catalog.set_config(name, value, false)
  from (
    values
      -- The format of values in results and parameters.
      ('datestyle', 'ISO, MDY'),
      ('intervalstyle', 'postgres'),
      ('timezone', 'UTC'),
      ('bytea_output', 'hex'),
      ('extra_float_digits', '1'),
      ('xmlbinary', 'base64'),
      ('xmloption', 'content'),
      ('array_nulls', 'on'),
      -- The syntax of statements.
      ('standard_conforming_strings', 'on'),
      ('backslash_quote', 'safe_encoding'),
      ('transform_null_equals', 'off'),
      -- Only the schema of the tables: the one in search_path that has them, or else the first. pg_catalog is
      -- searched before it and pg_temp after it, so that no other object shadows a table, a type or a function.
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
      -- After a wait for a lock a statement sees the row's current version, and a commit is durable.
      ('default_transaction_isolation', 'read committed'),
      ('default_transaction_deferrable', 'off'),
      ('synchronous_commit', case
        when pg_catalog.current_setting('synchronous_commit') = 'remote_apply' then 'remote_apply' else 'on'
      end),
      -- A row-level security policy is an error instead of a missing session.
      ('row_security', 'off'),
      ('exit_on_error', 'off'),
      ('client_min_messages', 'warning'),
      -- No statement runs for longer than a request waits, no lock outlives a service that has crashed in a
      -- transaction, and idle connections are kept.
      ('lock_timeout', '2s'),
      ('statement_timeout', '5s'),
      ('idle_in_transaction_session_timeout', '5s'),
      ('idle_session_timeout', '0'),
      ('transaction_timeout', '0'),
      -- Plans are cached: one from a time when the table was small must not scan all of it when it has grown.
      -- JIT compilation takes longer than these statements.
      ('plan_cache_mode', 'auto'),
      ('enable_seqscan', 'off'),
      ('enable_hashjoin', 'off'),
      ('enable_mergejoin', 'off'),
      ('jit', 'off'),
      -- Statements write the lines of the journal themselves: no trigger of 0008_changes_of_2_0.sql need do it.
      ('session_service.journal', 'written')
  ) as pin (name, value)
  where value is not null
    and (pg_catalog.current_setting(name, true) is not null or name = 'session_service.journal')
) as pinned;
