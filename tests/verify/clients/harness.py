"""Helpers of network.py and device.py: attempts on devices, the proxy's script, the service's state."""

import sys
from collections.abc import Callable
from pathlib import Path
from time import sleep
from uuid import UUID, uuid4

from attempt import Answer, Attempt
from session_service_client import AuthenticatedClient, Client
from session_service_client.api.sessions import get_session
from session_service_client.models import Session, SessionEndedError

URL, ARGUMENTS = sys.argv[1], sys.argv[3:]
CLIENT = Client(base_url=URL)
NOWHERE = Client(base_url="http://127.0.0.1:9")
FOLDER = Path(f"files-{uuid4()}")
QUIZ = 7
PROXY = CLIENT.get_httpx_client()

Scenario = Callable[[], None]


def run(*scenarios: Scenario) -> None:
    """Run the scenario that the command line names."""
    FOLDER.mkdir()
    with PROXY:
        {scenario.__name__: scenario for scenario in scenarios}[sys.argv[2]]()


def script(*responses: str, headers: dict[str, str] | None = None) -> None:
    """Set the proxy's responses to the next requests."""
    steps = [{"reply": response, "headers": headers or {}} for response in responses]
    PROXY.put("/script", json={"steps": steps}).raise_for_status()


def requests(method: str) -> list[dict[str, str]]:
    """Return the requests with this method since the last script."""
    seen: list[dict[str, str]] = PROXY.get("/script").json()
    return [request for request in seen if request["method"] == method]


def never(question: str, _mine: Answer, _theirs: Answer) -> Answer:
    """Fail the scenario: no other device has written."""
    sys.exit(f"decide was called for {question}")


def device(name: str, user: str, decide: Callable[[str, Answer, Answer], Answer] = never) -> Attempt:
    """Return an open attempt on the file of this name."""
    attempt = Attempt(CLIENT, FOLDER / name, decide)
    finish(lambda: attempt.open(user, QUIZ))
    return attempt


def new_user() -> str:
    """Return the name of a new user."""
    return f"python-{uuid4()}"


def finish(call: Callable[[], float]) -> None:
    """Repeat a call until it returns 0; here a second of the class is a millisecond."""
    for _ in range(50):
        if not (wait := call()):
            return
        sleep(min(wait, 50) / 1000)
    raise AssertionError(wait)


def state(attempt: Attempt, client: Client | AuthenticatedClient = CLIENT) -> tuple[str, dict[str, Answer]]:
    """Return the status and the answers that the service has for an attempt."""
    assert attempt.session
    response = get_session.sync(UUID(str(attempt.session.id)), client=client)
    session = response.session if isinstance(response, SessionEndedError) else response
    assert isinstance(session, Session)
    answers: dict[str, Answer] = session.answers.to_dict()
    return session.status.value, answers
