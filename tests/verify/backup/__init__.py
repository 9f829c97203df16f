"""Backups of a database that serves, restored with the commands of docs/backup.md."""
