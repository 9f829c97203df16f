"""Hypercorn: what overrides its private methods."""
