-- name: get_durability :one
-- out: fsync text
select current_setting('fsync') as fsync;
