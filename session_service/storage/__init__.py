"""PostgreSQL, which has the truth, and Redis, which is a cache of it."""
