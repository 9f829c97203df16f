"""Tests of worker processes and rolling restarts."""
