"""The service that a FastAPI developer would write for the same contract, to compare ours with.

Left out, which is less work than ours does: Idempotency-Key, ETag and conditional requests with their
Cache-Control, Prefer, `if_active`, 503 when PostgreSQL is down (but at /health), the limits on all answers of
a session. What is not JSON is 400, not 415; times have microseconds; a cursor is the id of the page's last
session.
"""
