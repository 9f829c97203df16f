-- name: count_owned_tables :count
--
-- Those that the service's role may change or drop: none, if it is not their owner and no superuser.
select
from pg_class
where oid in ('quiz_sessions'::regclass, 'schema_migrations'::regclass)
  and pg_has_role(relowner, 'usage');
