"""Strategies of the model-based test: what its requests have."""

from typing import Literal

import hypothesis.strategies as st
from attrs import frozen

from tests.support.orders import AGAIN
from tests.support.session_model import Given

# Two forms of one id, and texts that are no integers.
QUESTIONS = st.sampled_from([0, 1, "1", "007", "\u00e4 \U0001f600"])
VALUES = st.sampled_from(
    ["a", "", "\u00e4 \U0001f600", [], ["x", "y"], -7, 1.5, True, {}, {"1": None, "": [{"z": [None]}]}]
)
CHANGES = st.one_of(VALUES, st.none())
MANY_CHANGES = st.one_of(st.none(), st.dictionaries(QUESTIONS.map(str), CHANGES, min_size=1))
GRACE = 600  # seconds
STARTS = st.fixed_dictionaries(
    {"quiz_id": st.sampled_from([7, "7", "quiz-\u00e4"])},
    optional={
        "time_limit_seconds": st.sampled_from([0, 3600]),
        "grace_seconds": st.sampled_from([0, GRACE]),
        "on_expiry": st.sampled_from(["expire", "complete"]),
        "max_attempts": st.sampled_from([1, 2]),
    },
)
GIVEN = st.sampled_from(
    [
        Given("deadline", {"expires_at": "2100-01-01T00:00:00Z"}),
        Given("deadline", {"expires_at": "2000-01-01T00:00:00Z"}),
        Given("deadline", {"time_limit_seconds": 0}),
        Given("pause", {}),
        Given("pause", {"reason": "Fire alarm"}),
        Given("resume", {}),
        Given("reopen", AGAIN),
    ]
)
END = """
  update quiz_sessions
  set
    expires_at = date_trunc('milliseconds', clock_timestamp()),
    closes_at = date_trunc('milliseconds', clock_timestamp()) + %s * interval '1 second'
  where id = %s
"""


@frozen
class How:
    """The key of a write, and the version onto which it is sent, in `If-Match` if it is tagged."""

    version: Literal["current", "stale", "future"] | None
    key: str | None
    tagged: bool


HOW = st.builds(
    How,
    version=st.sampled_from([None, "current", "stale", "future"]),
    key=st.one_of(st.none(), st.sampled_from(["k1", "k2", "k3"])),
    tagged=st.booleans(),
)
