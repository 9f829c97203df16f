"""Tests of the session cache, statements, migrations, roles, database settings and TLS."""
