"""Tests of request batching, row locks, load shedding and rate limiting."""
