"""Fuzzing with schemathesis."""
