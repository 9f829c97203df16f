"""Tools for development: private servers, benchmarks. Not part of the container image."""
