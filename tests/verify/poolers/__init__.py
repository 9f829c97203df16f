"""A connection pooler before PostgreSQL: what works through it, and the starts that are refused."""
