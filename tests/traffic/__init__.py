"""Tests of batching, rate limits and load shedding."""
