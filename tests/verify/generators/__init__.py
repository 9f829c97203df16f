"""Clients of other generators, each driven through the life of a session."""
