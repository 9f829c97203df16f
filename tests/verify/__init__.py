"""Slow tests and those that need special tools: bin/verify."""
