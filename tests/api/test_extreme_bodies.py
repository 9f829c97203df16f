"""Tests of bodies with very many or very deep violations: each is a 400 with a place, at a small cost."""

from pathlib import Path

import pytest

from tests.support.service import Service

PROGRESS = "/api/sessions/3f333df6-90a4-4fda-8dd3-9485d27cee36/progress"
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("digits", [33, 5000])
def test_a_key_of_many_zeros_is_a_place_like_any_other(service: Service, digits: int) -> None:
    """A violation below a key of many digits is a 400 that names the field, however long the key is."""
    key = "0" * digits
    response = service.client.put(PROGRESS, json={"question_id": 1, "answer": {key: ["\0"]}})
    shown = key if digits <= 64 else "#1"
    assert response.status_code == 400
    assert [one["path"] for one in response.json()["details"]] == [f"body.answer.{shown}.0"]


@pytest.mark.parametrize("levels", [200, 990, 1020])
@pytest.mark.parametrize("name", ["", "7", "\\u0000"])
def test_a_deep_violation_is_told(service: Service, levels: int, name: str) -> None:
    """A value with wrong names at each of many levels is a 400, however many the parser accepts."""
    answer = f'{{"{name}":' * levels + "1" + "}" * levels
    body = f'{{"question_id":1,"answer":{answer}}}'
    response = service.client.put(PROGRESS, content=body.encode(), headers=JSON)
    assert response.status_code == 400
    assert response.json()["details"][0]["path"].startswith("body")


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
def test_a_large_body_of_violations_has_a_small_cost(service: Service, method: str) -> None:
    """A body of many wrong names does not make the service's memory grow with the square of their number.

    Before, 17 000 names took over 20 GiB.
    """
    answer = {f"\0{number}": 1 for number in range(17_000)}
    body = {"question_id": 1, "answer": answer} if method == "PUT" else {"answers": {"1": answer}}
    before = _peak_memory(service)
    response = service.client.request(method, PROGRESS, json=body)
    path = "body.answer" if method == "PUT" else "body.answers.1"
    assert [one["path"] for one in response.json()["details"]] == [path]
    assert _peak_memory(service) - before < 256 * 1024


def _peak_memory(service: Service) -> int:
    """Return the most memory that the service has had so far, in KiB."""
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])
