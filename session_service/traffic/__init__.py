"""Traffic control: request batching, deadlines, load shedding, rate limits."""
