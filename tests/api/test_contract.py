"""Tests the contract with schemathesis, in the short form of tests/verify/fuzz."""

import pytest

from tests.support import fuzzing
from tests.support.conformance import DOCUMENT
from tests.support.service import Service


@pytest.mark.usefixtures("limits_removed")
def test_generated_requests_keep_the_contract(service_with_tokens: Service) -> None:
    """Examples, boundary values and a few random requests to each operation get declared responses."""
    run = fuzzing.run_schemathesis(
        service_with_tokens.url, fuzzing.REST, "--generation-deterministic", "--max-examples", "2"
    )
    assert not run.failed, run.output
    assert {name for name, _ in fuzzing.count_responses(run.responses)} >= {
        name for name, _ in fuzzing.reachable()
    }


@pytest.mark.parametrize("key", ["3", "007", "0", "-1", "1e0", "99999999999999999999", "two words"])
def test_a_fault_below_any_key_is_named(service: Service, key: str) -> None:
    """The path of a fault has a plain key as it was sent, also like a number, and the place of another."""
    body = {"answers": {"other": 1, key: {"x": "\0"}}}
    path = "/api/sessions/3f333df6-90a4-4fda-8dd3-9485d27cee36/progress"
    response = service.client.patch(path, json=body)
    assert response.status_code == 400
    shown = "#2" if " " in key else key
    assert [detail["path"] for detail in response.json()["details"]] == [f"body.answers.{shown}.x"]


def test_the_body_of_a_link_is_an_expression() -> None:
    """No link has an object as its body: OpenAPI Generator would make no client of the contract."""
    links = DOCUMENT["components"]["links"].values()
    bodies = [link["requestBody"] for link in links if "requestBody" in link]
    assert bodies
    assert all(isinstance(body, str) for body in bodies)
