"""Tests of the domain's rules: time limits, digests, and a model of a session."""
