-- name: record_migration :count
-- in:  name text, checksum text
insert into schema_migrations (name, checksum)
values (%(name)s, %(checksum)s);
