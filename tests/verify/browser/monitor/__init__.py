"""Tests of the page /monitor in a browser."""
