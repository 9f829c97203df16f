"""The domain: sessions, the rules that hold for them, and the errors that a rule raises."""
