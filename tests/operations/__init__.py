"""A file for each operation, a test for each status that it declares."""
