"""Memory of a process: its highest resident set since a moment."""

import re
from pathlib import Path


def reset_peak(pid: int) -> None:
    """Let `peak_memory` of the process begin with its present memory (proc(5), clear_refs)."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def peak_memory(pid: int) -> int:
    """Return the most bytes of memory that the process has had since `reset_peak`."""
    found = re.search(r"^VmHWM:\s+(\d+) kB$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024
