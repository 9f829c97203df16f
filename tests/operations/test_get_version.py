"""getVersion: GET /version."""

from session_service.api import contract
from tests.conftest import Urls
from tests.support.service import Service, running

PATH = "/version"


def test_200_with_the_version_and_the_revision(migrated: Urls) -> None:
    """The version is that of the contract, and the revision that of the setting."""
    with running(migrated, REVISION="3f7c2a9") as service:
        response = service.client.get(PATH, headers={"x-request-id": "probe-1"})
    assert response.status_code == 200
    assert response.json() == {
        "service": "session-service",
        "version": contract.version(),
        "revision": "3f7c2a9",
        "requestId": "probe-1",
    }


def test_200_without_a_token_and_without_a_database(
    service_with_tokens: Service, service_without_postgresql: Service
) -> None:
    """The version needs neither a token nor the database."""
    for service in (service_with_tokens, service_without_postgresql):
        response = service.client.get(PATH)
        assert (response.status_code, response.json()["revision"]) == (200, None)


def test_400_for_an_unknown_query_parameter(service: Service) -> None:
    """An unknown query parameter is rejected, not ignored."""
    assert service.client.get(PATH, params={"deep": "1"}).status_code == 400


def test_413_over_256_kib(service: Service) -> None:
    """A body over 256 KiB is rejected, even if the operation has no body."""
    assert service.client.request("GET", PATH, content=b" " * (256 * 1024 + 1)).status_code == 413
