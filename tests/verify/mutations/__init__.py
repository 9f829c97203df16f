"""Mutation tests: each guard of the service has a test that fails without it."""
