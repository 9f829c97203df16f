"""Requests around a restore, and the check that no response after it contradicts one from before."""

from typing import Any
from uuid import uuid4

import httpx
from attrs import define, field

from tests.support.erasing import new_user
from tests.support.feed import newest
from tests.support.orders import given
from tests.support.service import Service


@define
class Shown:
    """The body of each version of a session that was shown, and versions with two of them."""

    bodies: dict[tuple[str, int], dict[str, Any]] = field(factory=dict)
    violations: list[str] = field(factory=list)

    def note(self, response: httpx.Response) -> dict[str, Any]:
        """Note the session in a response, and return it."""
        body: dict[str, Any] = response.json()
        session: dict[str, Any] = body.get("session", body)
        key = session["id"], session["version"]
        if self.bodies.setdefault(key, session) != session:
            self.violations.append(f"{key} was shown with two contents")
        return session


@define
class Story:
    """Requests of a day: before the backup, up to its moment, in the lost time, after the restore."""

    shown: Shown = field(factory=Shown)
    before: dict[str, dict[str, Any]] = field(factory=dict)
    lost: set[tuple[str, int]] = field(factory=set)
    runs: str = ""
    ended: str = ""
    erased: str = ""
    gone: str = ""
    cursor: str = ""
    user: str = field(factory=new_user)
    key: str = field(factory=lambda: str(uuid4()))

    def begin(self, service: Service) -> None:
        """Start sessions of each kind, and save."""
        self.runs, self.ended, self.erased = (str(service.start()["id"]) for _ in range(3))
        for session in (self.runs, self.ended, self.erased):
            self.shown.note(service.save(session, 1, "before"))
        self.shown.note(service.complete(self.ended))

    def remember(self, service: Service) -> None:
        """Remember the sessions as the restore has to give them."""
        for session in (self.runs, self.ended):
            self.before[session] = self.shown.note(service.read(session))

    def go_on(self, service: Service) -> None:
        """Change sessions in the time that will be lost."""
        known = {*self.shown.bodies}
        given(service, "reopen", self.ended)
        for number in range(3):
            for session in (self.runs, self.ended):
                self.shown.note(service.save(session, 2, f"lost {number}"))
                self.shown.note(service.read(session))
        self.gone = self._start_again(service)
        self.shown.note(service.read(self.gone))
        assert service.client.delete(f"/api/sessions/{self.erased}").status_code == 204
        self.cursor = newest(service)
        self.lost = {*self.shown.bodies} - known

    def check(self, service: Service) -> list[str]:
        """Use the restored sessions; return what contradicts the responses before."""
        sessions = (self.runs, self.ended)
        found = [f"{one} is not as it was" for one in sessions if not self._is_restored(service, one)]
        given(service, "reopen", self.ended)
        for number in range(3):
            for session in sessions:
                self.shown.note(service.save(session, 3, f"new {number}"))
            for session, version in sorted(self.lost):
                if session in sessions:
                    found += self._use(service, session, version)
        if service.read(self.gone).status_code != 404:
            found.append("a session of the lost time is shown")
        if len({self._start_again(service) for _ in range(2)} - {self.gone}) != 1:
            found.append("a repeated start has started two sessions, or none")
        return found + self.shown.violations

    def _is_restored(self, service: Service, session: str) -> bool:
        now = self.shown.note(service.read(session))
        same = {name: value for name, value in now.items() if name not in {"version", "updated_at"}}
        return same.items() <= self.before[session].items()

    def _use(self, service: Service, session: str, version: int) -> list[str]:
        """Use a version of the lost time in each way in which a client may."""
        found = []
        now = self.shown.note(service.read(session, {"cache-control": "no-cache"}))
        if service.read(session, {"if-none-match": f'"{version}"'}).status_code == 304:
            found.append(f"{session}: 304 for {version}")
        for headers, fields in (({"if-match": f'"{version}"'}, {}), ({}, {"version": version})):
            saved = service.save(session, 4, str(uuid4()), headers, **fields)
            if saved.status_code == 200:
                found.append(f"{session}: saved onto {version} at {now['version']}")
        return found

    def _start_again(self, service: Service) -> str:
        body, headers = {"user_id": self.user, "quiz_id": 7}, {"idempotency-key": self.key}
        response = service.client.post("/api/sessions/start", json=body, headers=headers)
        assert response.status_code in (200, 201), response.text
        return str(response.json()["id"])
