"""The benchmark: what drives the service and its peers."""
