"""Webhooks: a process that posts the events of the feed to the endpoints of its settings."""
