"""Fixtures of the tests of webhooks."""

from tests.webhooks.conftest import events, owner, urls

__all__ = ["events", "owner", "urls"]
