"""Tests of the operations: at least one file for each, at least one test for each declared status."""
