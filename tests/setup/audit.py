"""Known vulnerabilities in what the service installs: bin/audit [lock file].

An audit that could not look at every package has found nothing out, and fails.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from dev.reaper import ROOT


def main() -> None:
    """Audit a lock file, the container's by default; exit with 1 unless every package is known as good."""
    lock = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "requirements" / "service.lock"
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes"]
    command += ["--disable-pip", "--progress-spinner", "off", "--format", "json"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(run.stdout) if run.stdout.startswith("{") else {"dependencies": []}
    faults = judge(report, locked(lock))
    print("\n".join(faults) or f"{len(locked(lock))} packages audited, no known vulnerability")
    if faults and run.stderr:
        print(run.stderr.strip().splitlines()[-1], file=sys.stderr)
    sys.exit(1 if faults else 0)


def locked(lock: Path) -> set[str]:
    """Return the names of the packages that a lock file has for this platform."""
    lines = re.findall(r"^([a-z0-9].*?) (?:\\$|--hash)", lock.read_text(), re.MULTILINE)
    wanted = [Requirement(line) for line in lines]
    return {one.name for one in wanted if one.marker is None or one.marker.evaluate()}


def judge(report: dict[str, Any], wanted: set[str]) -> list[str]:
    """Return what is wrong with pip-audit's report on the packages wanted, or with the packages."""
    audited = {one["name"]: one["vulns"] for one in report["dependencies"] if "skip_reason" not in one}
    faults = [f"{name}: not audited" for name in sorted(wanted - audited.keys())]
    for name, vulnerabilities in sorted(audited.items()):
        faults += [f"{name}: {one['id']}" for one in vulnerabilities]
    return faults


if __name__ == "__main__":
    main()
