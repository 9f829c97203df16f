"""bin/audit [lock file]: known vulnerabilities in the installed packages.

A package that could not be audited is a failure.
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
    """Audit a lock file, by default the container's; exit with 1 if there is a finding."""
    lock = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "requirements" / "service.lock"
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes"]
    command += ["--disable-pip", "--progress-spinner", "off", "--format", "json"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    report = json.loads(run.stdout) if run.stdout.startswith("{") else {"dependencies": []}
    found = findings(report, locked(lock))
    print("\n".join(found) or f"{len(locked(lock))} packages audited, no known vulnerability")
    if found and run.stderr:
        print(run.stderr.strip().splitlines()[-1], file=sys.stderr)
    sys.exit(1 if found else 0)


def locked(lock: Path) -> set[str]:
    """Return the names of the packages that a lock file has for this platform."""
    lines = re.findall(r"^([a-z0-9].*?) (?:\\$|--hash)", lock.read_text(), re.MULTILINE)
    wanted = [Requirement(line) for line in lines]
    return {one.name for one in wanted if one.marker is None or one.marker.evaluate()}


def findings(report: dict[str, Any], wanted: set[str]) -> list[str]:
    """Return the findings in pip-audit's report: vulnerabilities, and packages that were not audited."""
    audited = {one["name"]: one["vulns"] for one in report["dependencies"] if "skip_reason" not in one}
    found = [f"{name}: not audited" for name in sorted(wanted - audited.keys())]
    for name, vulnerabilities in sorted(audited.items()):
        found += [f"{name}: {one['id']}" for one in vulnerabilities]
    return found


if __name__ == "__main__":
    main()
