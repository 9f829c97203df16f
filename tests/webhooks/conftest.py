"""Fixtures of the tests of webhooks: a database of the test, and its events."""

import psycopg
import pytest

from tests.conftest import Urls
from tests.support.webhooks import Events


@pytest.fixture
def urls(migrated_database: tuple[Urls, psycopg.Connection]) -> Urls:
    """The URLs of a database of the test."""
    return migrated_database[0]


@pytest.fixture
def owner(migrated_database: tuple[Urls, psycopg.Connection]) -> psycopg.Connection:
    """A connection as the owner of its tables."""
    return migrated_database[1]


@pytest.fixture
def events(owner: psycopg.Connection) -> Events:
    """The events of the database."""
    return Events(owner)
