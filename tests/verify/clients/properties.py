"""Property of the class Attempt: whatever fails, an answer is saved, or the client says that it is not."""

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import Urls
from tests.support.service import Service
from tests.verify.clients.scripted_proxy import TRANSIENT, scripted

Steps = list[dict[str, Any]]

# The same examples in each run; `bin/verify --long` sets a larger number, and these are random.
EXAMPLES = int(os.environ.get("EXAMPLES", "40"))
# "silence" costs a client its whole timeout.
REPLIES = ["pass", "lost request", "lost reply", "torn reply", "SessionNotFoundError", *TRANSIENT]
QUESTIONS = ["1", "2", "__proto__"]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.text("ab\u00fc\U0001f600\u0000", max_size=3),
    st.lists(st.integers(0, 1), max_size=2),
    st.just({"__proto__": None}),
)


def steps(devices: int, *, tabs: bool = False) -> st.SearchStrategy[Steps]:
    """Generate what learners do on so many devices, in several tabs of each, and what fails meanwhile."""
    place = {"device": st.integers(0, devices - 1)} | ({"tab": st.integers(0, 2)} if tabs else {})
    names = ["open", "flush", "flush", "complete", "online", "offline", "full", "room"]
    names += ["tab", "tab", "close", "sleep"] if tabs else ["crash"]
    # The device's date is set back, or the device has slept.
    clock = st.fixed_dictionaries({"do": st.just("clock"), "seconds": st.sampled_from([-7200, 0, 90])})
    # Without the operator's fence a second device can hide that the database was restored.
    fence = st.sampled_from([False, True] if devices == 1 else [True])
    step = st.one_of(
        st.fixed_dictionaries(
            {
                "do": st.just("answer"),
                **place,
                "question": st.sampled_from(QUESTIONS),
                "answer": VALUES,
            }
        ),
        st.fixed_dictionaries({"do": st.sampled_from(names), **place}),
        st.fixed_dictionaries(
            {"do": st.just("network"), "replies": st.lists(st.sampled_from(REPLIES), max_size=4)}
        ),
        st.just({"do": "backup"}),
        st.fixed_dictionaries({"do": st.just("restore"), "fence": fence}),
        *([clock] if tabs else []),
    )
    return st.lists(step, min_size=12 if tabs else 0, max_size=25)


def check_promise(
    command: Sequence[str | Path],
    project: Path,
    service: Service,
    urls: Urls,
    generated: st.SearchStrategy[Steps],
) -> None:
    """Let a program carry out any steps; fail if it prints a broken promise."""

    @settings(
        max_examples=EXAMPLES,
        derandomize="EXAMPLES" not in os.environ,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(generated)
    def check(taken: Steps) -> None:
        file = project / "steps.json"
        file.write_text(json.dumps(taken))
        with scripted(service.url, urls) as proxy:
            devices = 1 + max((step.get("device", 0) for step in taken), default=0)
            ready = [*command, proxy.url, str(devices), file]
            ended = subprocess.run(
                ready, cwd=project, capture_output=True, text=True, check=False, timeout=120
            )
        assert (ended.returncode, ended.stdout) == (0, ""), ended.stdout + ended.stderr

    check()
