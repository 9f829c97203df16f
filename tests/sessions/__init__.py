"""Tests of the domain's rules: expiry, digests of idempotent writes, and a model of a session."""
