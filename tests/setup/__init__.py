"""Tests of the start, the commands, the documentation and the structure of the code."""
