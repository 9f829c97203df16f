-- name: configure :many
-- in:  backend integer
-- out: name text, value text, held text?, stored text?, pooled boolean, pid integer
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
-- tests/verify/settings/test_role_settings.py changes all the others and expects exact responses.
--
-- `backend` is the process that PostgreSQL named when the connection was opened. If another one executes this statement,
-- a connection pooler is between them (`pooled`), and the next statement may reach yet another one: then the values hold
-- until the transaction ends, and the role has to have them. `held` is the value of the connection before, `stored` that of
-- the role in this database, which new connections begin with.
--
-- Names are qualified: until search_path is set, another schema could shadow the functions.
select
  name,
  pg_catalog.set_config(name, value, pg_catalog.pg_backend_pid() <> %(backend)s::integer) as value,
  held,
  stored,
  pg_catalog.pg_backend_pid() <> %(backend)s::integer as pooled,
  pg_catalog.pg_backend_pid() as pid
from (
  select
    name,
    value,
    pg_catalog.current_setting(name, true) as held,
    (
      select pg_catalog.substr(entry, pg_catalog.length(name) + 2)
      from pg_catalog.pg_db_role_setting
      join pg_catalog.pg_database as d on d.oid = setdatabase and d.datname = pg_catalog.current_database()
      join pg_catalog.pg_roles as r on r.oid = setrole and r.rolname = session_user
      cross join lateral pg_catalog.unnest(setconfig) as entry
      where pg_catalog.lower(pg_catalog.split_part(entry, '=', 1)) = name
    ) as stored
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
      ('jit', 'off')
  ) as pin (name, value)
  where value is not null
    and pg_catalog.current_setting(name, true) is not null
  offset 0
) as pinned;
