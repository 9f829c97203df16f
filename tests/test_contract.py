"""schemathesis against the running server: what nobody thought of."""

import re
from collections.abc import Callable

from tests import fuzz
from tests.service import Service


def test_a_repeatable_run_finds_nothing(guarded: Service) -> None:
    """Examples, coverage and fuzzing find no fault, reach every operation, and ask the same each time."""
    options = ["--generation-deterministic", "--max-examples", "30"]
    first, second = (fuzz.ask(guarded.url, fuzz.REST, *options, repeatable=True) for _ in range(2))
    for run in (first, second):
        assert not run.failed, run.told
    assert _asked(first) == _asked(second)
    assert {name for name, _ in fuzz.seen(first.replies)} >= {name for name, _ in fuzz.reachable()} | {
        "getHealth"
    }


def test_links_reach_every_success(guarded: Service, record_property: Callable[[str, str], None]) -> None:
    """From a start the contract's links lead to every success status, and no chain of them finds a fault."""
    seen = fuzz.Seen()
    for seed in range(20261123, 20261143):
        run = fuzz.ask(guarded.url, "stateful", "--max-examples", "150", "--seed", str(seed))
        assert not run.failed, run.told
        seen += fuzz.seen(run.replies)
        if fuzz.reachable() <= seen.keys():
            break
    record_property("what links reached", fuzz.table(seen))
    assert fuzz.reachable() - seen.keys() == set()


def _asked(run: fuzz.Run) -> list[str]:
    """Return the requests of a run, but for the ids that the service gave and schemathesis's own numbers."""
    asked = []
    for request in (reply.request for reply in run.replies):
        headers = {name: value for name, value in request.headers.items() if not name.startswith("x-schema")}
        whole = f"{request.method} {request.url} {headers} {request.content!r}"
        asked.append(re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "ID", whole))
    return asked
