"""Code that Python imports into a service under test at its start."""
