-- name: get_durability :one
-- out: synchronous_commit text, fsync text, isolation text
select
  current_setting('synchronous_commit') as synchronous_commit,
  current_setting('fsync') as fsync,
  current_setting('default_transaction_isolation') as isolation;
