"""Tests of the process that sends webhooks."""
