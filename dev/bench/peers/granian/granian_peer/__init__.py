"""Granian, the server, with the service's application or the bare one, to compare our servers with."""
