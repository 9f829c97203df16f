"""Tools for development: private servers, the benchmark. Not in the image."""
