"""Real clients against real instances under faults, every operation recorded and the record judged."""
