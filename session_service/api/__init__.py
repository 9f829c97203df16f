"""The contract over HTTP: serves openapi.yaml, validates each request, encodes each response."""
