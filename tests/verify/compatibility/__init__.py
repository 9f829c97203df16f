"""Tests of the compatibility of the contract with its released version."""
