"""Failover of PostgreSQL by Patroni."""
