"""Fault tests: what the service does when clients, proxies, PostgreSQL or Redis fail."""
