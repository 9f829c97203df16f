"""How much work is let in, and for how long: batching, deadlines, load shedding, rate limits."""
