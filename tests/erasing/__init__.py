"""Tests of erasing: what is left of a learner, races, retention, rights and the command."""
