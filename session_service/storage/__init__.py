"""Storage: PostgreSQL is the source of truth, Redis a cache."""
