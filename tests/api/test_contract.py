"""Tests the contract with schemathesis, in the short form of tests/verify/fuzz."""

from tests.support import fuzzing
from tests.support.service import Service


def test_generated_requests_keep_the_contract(service_with_tokens: Service) -> None:
    """Examples, boundary values and a few random requests to each operation get declared responses."""
    run = fuzzing.run_schemathesis(
        service_with_tokens.url, fuzzing.REST, "--generation-deterministic", "--max-examples", "3"
    )
    assert not run.failed, run.output
    assert {name for name, _ in fuzzing.count_responses(run.responses)} >= {
        name for name, _ in fuzzing.reachable()
    }
