"""Tools for development: private servers, the benchmark. Not part of the container image."""
