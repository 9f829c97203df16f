"""The contract over HTTP: openapi.yaml served, each request validated, each reply encoded."""
