"""Authentication: the principal behind a request."""
