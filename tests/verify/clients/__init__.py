"""The generated clients, each driven through the whole life of a session."""
