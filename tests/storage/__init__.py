"""Tests of the session cache, statements, migrations, roles and TLS."""
