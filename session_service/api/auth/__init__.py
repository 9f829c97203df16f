"""Authentication: verifies the credentials of a request and returns its principal."""
