"""Tests of the two HTTP servers and the log."""
