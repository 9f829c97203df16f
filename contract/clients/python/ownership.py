"""The ownership of a file: of one process of the device, and of one attempt in this process."""

import os
import sys
from pathlib import Path
from threading import RLock
from weakref import WeakValueDictionary

from .locks import FileLock, Status
from .outbox import Outbox


class FileOwnership:
    """The ownership of a file that attempts share; without a `lock` no other process uses it."""

    def __init__(self, lock: FileLock | None = None) -> None:
        self._lock = lock
        self.reset()

    def reset(self) -> None:
        """Own nothing; a lock that this process has is kept."""
        self.turn = RLock()  # held by a thread while it sends requests
        self.state = RLock()  # held by a thread while it reads or changes the state; never during a request
        self.owner: Outbox | None = None

    @property
    def was_replaced(self) -> bool:
        """Return whether another process has taken the file from this one, which was frozen."""
        return self._lock is not None and self._lock.was_replaced

    def lock(self) -> Status:
        """Lock the file: `taken` by another process, or `unlocked` because the folder cannot be written."""
        return self._lock.acquire() if self._lock else "locked"

    def leave(self) -> None:
        """Give the file to another process."""
        self.owner = None
        if self._lock:
            self._lock.release()


_ownerships: "WeakValueDictionary[Path, FileOwnership]" = WeakValueDictionary()


def ownership_of(file: Path) -> FileOwnership:
    """Return the ownership of a file, the same one for all attempts of this process."""
    lock = file.with_name(f"{file.name}.lock")
    return _ownerships.setdefault(lock, FileOwnership(FileLock(lock)))


def _forget_parent() -> None:
    """Leave the parent's files: a process that was forked has its locks and must not use them."""
    for ownership in list(_ownerships.values()):
        ownership.leave()
        ownership.reset()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_parent)
