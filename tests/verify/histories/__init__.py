"""Histories: clients and instances under faults, with every operation recorded and checked."""
