"""Fixtures of the tests of /monitor: one exam of 300 learners for reading, and small ones for orders."""

from collections.abc import Iterator

import psycopg
import pytest

from tests.conftest import Urls
from tests.support.service import Service
from tests.support.validating_proxy import ValidatingProxy, validating_proxy
from tests.verify.browser.monitor.room import LONG, Exam


@pytest.fixture(scope="session")
def service(patient_shared_service: Service) -> Service:
    """A service with long timeouts: beside browsers a machine is busy."""
    return patient_shared_service


@pytest.fixture(scope="session")
def operator(migrated: Urls) -> Iterator[psycopg.Connection]:
    """A connection of the database's owner."""
    with psycopg.connect(migrated["MIGRATION_DATABASE_URL"], autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def hall(service: Service, operator: psycopg.Connection) -> Exam:
    """An exam of 300 learners, in every state."""
    exam = Exam(service, operator)
    exam.fill(300)
    exam.mix(LONG)
    return exam


@pytest.fixture
def exam(service: Service, operator: psycopg.Connection) -> Exam:
    """An exam of six learners."""
    exam = Exam(service, operator)
    exam.fill(6)
    return exam


@pytest.fixture
def proxy(service: Service) -> Iterator[ValidatingProxy]:
    """A proxy that validates each response to the page."""
    with validating_proxy(service.url) as proxy:
        yield proxy
