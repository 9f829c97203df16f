"""Tests the contract with schemathesis, in the short form of tests/verify/fuzz."""

from tests.support import fuzzing
from tests.support.service import Service


def test_generated_requests_keep_the_contract(guarded: Service) -> None:
    """Examples, boundary values and a few random requests to each operation get declared responses."""
    run = fuzzing.ask(guarded.url, fuzzing.REST, "--generation-deterministic", "--max-examples", "3")
    assert not run.failed, run.told
    assert {name for name, _ in fuzzing.seen(run.replies)} >= {name for name, _ in fuzzing.reachable()}
