-- name: end_own_connection :count
--
-- Ends the connection that executes the statement, which then fails.
select
from (select pg_terminate_backend(pg_backend_pid())) as ended;
