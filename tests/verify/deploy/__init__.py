"""Tests of the ways to deploy the service: the wheel, and the files of deploy/ with real servers."""
