"""Carries out the steps of properties.py, prints broken promises: python anything.py URL DEVICES STEPS."""

import json
import sys
from pathlib import Path
from typing import Any

from harness import ARGUMENTS, CLIENT, NOWHERE, PROXY, QUIZ, Memory, new_user, script, state
from session_service_client.attempt import Answer, Attempt
from session_service_client.json_values import same


class Devices:
    """The attempts of a user on several devices, and the answers that they were given."""

    def __init__(self, count: int) -> None:
        self.user = new_user()
        self.stores = [Memory() for _ in range(count)]
        self.attempts = [Attempt(CLIENT, store) for store in self.stores]
        self.given: list[dict[str, Answer]] = [{} for _ in range(count)]
        self._backup = ""

    def carry_out(self, step: dict[str, Any]) -> None:
        """Carry out a step."""
        match step["do"]:
            case "network":
                script(*step["replies"])
            case "backup":
                ids = [str(attempt.session.id) for attempt in self.attempts if attempt.session]
                self._backup = ids[0] if ids else ""
                if ids:
                    PROXY.put("/backup", json={"id": ids[0]}).raise_for_status()
            case "restore":
                self._restore(fence=step["fence"])
            case _:
                self._carry_out_on(step["device"], step)

    def _carry_out_on(self, device: int, step: dict[str, Any]) -> None:
        attempt, store = self.attempts[device], self.stores[device]
        match step["do"]:
            case "answer":
                attempt.answer(step["question"], step["answer"])
                self.given[device][step["question"]] = step["answer"]
            case "open":
                attempt.open(self.user, QUIZ)
            case "flush":
                attempt.flush()
            case "complete":
                attempt.complete()
            case "crash":
                # Answers in memory only, as the attempt says, are lost with the process.
                if not attempt.store_failed:
                    self.attempts[device] = Attempt(CLIENT, store)
            case "online" | "offline":
                attempt.client = CLIENT if step["do"] == "online" else NOWHERE
            case _:
                store.fails = step["do"] == "full"

    def _restore(self, *, fence: bool) -> None:
        # An ended attempt keeps nothing on the device.
        if not self._backup or any(attempt.ended for attempt in self.attempts):
            return
        # The network's faults are for the attempts, not for this program.
        script()
        known = [attempt for attempt in self.attempts if attempt.session]
        if known and state(known[0])[0] == "in_progress":
            PROXY.put("/restore", json={"id": self._backup, "fence": fence}).raise_for_status()

    def settle(self) -> None:
        """Let every device send all that it has, on a network and with stores that work."""
        script()
        for _ in range(2):
            for attempt, store in zip(self.attempts, self.stores, strict=True):
                attempt.client, store.fails = CLIENT, False
                for _ in range(30):
                    if not attempt.open(self.user, QUIZ) and not attempt.flush():
                        break
                else:
                    sys.exit(f"still {attempt.problem}")

    def check(self) -> None:
        """Print each answer that was given last, is not stored, and that its device does not report."""
        stored = state(self.attempts[0])[1]
        for question in {question for given in self.given for question in given}:
            last = [given[question] for given in self.given if question in given]
            if any(same(answer, stored.get(question)) for answer in last):
                continue
            for attempt, given in zip(self.attempts, self.given, strict=True):
                if question in given and not reported(attempt, question, given[question]):
                    sys.stdout.write(f"{question}: {given[question]!r}; stored: {stored.get(question)!r}\n")


def reported(attempt: Attempt, question: str, answer: Answer) -> bool:
    """Return whether the device says that this answer is not saved."""
    groups = (attempt.refused, attempt.lost, attempt.unsaved)
    return any(question in group and same(group[question], answer) for group in groups)


if __name__ == "__main__":
    devices = Devices(int(sys.argv[2]))
    for one in json.loads(Path(ARGUMENTS[0]).read_text()):
        devices.carry_out(one)
    devices.settle()
    devices.check()
