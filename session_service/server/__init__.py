"""The process and its connections: event loop, signals, graceful shutdown, workers."""
