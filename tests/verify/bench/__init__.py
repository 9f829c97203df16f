"""Tests of bin/bench."""
