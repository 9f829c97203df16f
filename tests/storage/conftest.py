"""Fixtures of the tests of the storage."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import Urls, migrate
from tests.support.database_settings import ROLE


@pytest.fixture
def migrated_database(fresh_database: Urls) -> Iterator[tuple[Urls, psycopg.Connection]]:
    """A migrated database of the test, with a connection of its owner."""
    migrate(fresh_database)
    with psycopg.connect(fresh_database["MIGRATION_DATABASE_URL"], autocommit=True) as operator:
        yield fresh_database, operator
        operator.execute(f"alter role {ROLE} in database {operator.info.dbname} reset all")
