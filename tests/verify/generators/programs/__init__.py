"""Programs that drive a client through the life of a session; each is copied to where its client is made."""
