"""Tests of the compatibility with the release before: the contract and the entries of the cache."""
