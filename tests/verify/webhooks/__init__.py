"""Tests of processes that send webhooks, through faults of each part."""
