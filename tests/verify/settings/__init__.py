"""Databases, roles and settings with which the service starts or does not start."""
