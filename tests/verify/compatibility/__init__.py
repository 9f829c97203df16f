"""Tests of the contract's compatibility with its released version."""
