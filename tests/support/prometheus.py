"""A real Prometheus for the tests: it scrapes a page and evaluates the rules of deploy/prometheus."""

import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from attrs import frozen

from dev.reaper import ROOT
from tests.support.service import free_port, plain_text
from tests.support.waiting import LIMIT, eventually

RULES = ROOT / "deploy" / "prometheus" / "alerts.yaml"

CONFIGURATION = """
global: {{scrape_interval: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: session-service
    static_configs: [{{targets: ["127.0.0.1:{target}"]}}]
"""


@frozen
class Prometheus:
    """A running Prometheus."""

    url: str

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Return the samples of an expression; fail if Prometheus rejects it."""
        reply = json.loads(plain_text(f"{self.url}/api/v1/query?query={quote(expression)}"))
        assert reply["status"] == "success", reply
        result: list[dict[str, Any]] = reply["data"]["result"]
        return result

    def firing(self) -> set[str]:
        """Return the names of the alerts that fire."""
        return {sample["metric"]["alertname"] for sample in self.query('ALERTS{alertstate="firing"}')}


def quick_rules() -> str:
    """Return the rules with seconds in the place of minutes, for which a test can wait."""

    def shorten(found: re.Match[str]) -> str:
        return f"{found[1]}{max(4, int(found[2]) * 4)}s"

    return re.sub(r"(for: |\[|offset )(\d+)m", shorten, RULES.read_text()).replace("for: 30s", "for: 2s")


@contextmanager
def prometheus(target: int, rules: str) -> Iterator[Prometheus]:
    """Run Prometheus with the rules; it scrapes the page on the port `target` every second."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="session-service-test-") as name:
        base = Path(name)
        (base / "alerts.yaml").write_text(rules)
        (base / "prometheus.yaml").write_text(CONFIGURATION.format(rules=base / "alerts.yaml", target=target))
        options = [
            f"--config.file={base / 'prometheus.yaml'}",
            f"--storage.tsdb.path={base / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (base / "log").open("w") as log:
            process = subprocess.Popen(["prometheus", *options], stdout=log, stderr=subprocess.STDOUT)
        try:
            started = Prometheus(f"http://127.0.0.1:{port}")
            eventually(lambda: _is_up(started), (base / "log").read_text)
            yield started
        finally:
            process.terminate()
            process.wait(LIMIT)


def _is_up(started: Prometheus) -> bool:
    try:
        return any(sample["value"][1] == "1" for sample in started.query("up"))
    except OSError:
        return False
