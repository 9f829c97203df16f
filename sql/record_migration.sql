-- name: record_migration :count
-- in:  name text, checksum text
--
-- Records an applied migration; checksum is the SHA-256 of the file in hexadecimal.
insert into schema_migrations (name, checksum)
values (%(name)s, %(checksum)s);
