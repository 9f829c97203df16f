"""The promises of the service, each held by a test against the real thing."""
