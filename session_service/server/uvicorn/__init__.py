"""uvicorn: what overrides its private methods."""
