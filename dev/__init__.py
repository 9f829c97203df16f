"""Tools for development: private servers, benchmarks. Not in the image."""
