"""The ownership of a file: of one process of the device, and of one attempt in this process."""

import os
import sys
from errno import EACCES, EAGAIN
from pathlib import Path
from threading import RLock
from typing import Literal
from weakref import WeakValueDictionary, finalize

from .outbox import Outbox

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

Status = Literal["locked", "unlocked", "taken"]


class Place:
    """A file that processes and attempts share; `lock` is None for a store that is not shared.

    The operating system removes the lock when the process ends, by whatever cause.
    """

    def __init__(self, lock: Path | None = None) -> None:
        self._lock = lock
        self.reset()

    def reset(self) -> None:
        """Own nothing; a lock that this process has is kept."""
        self.turn = RLock()  # held by a thread while it sends requests
        self.state = RLock()  # held by a thread while it reads or changes the state; never during a request
        self.owner: Outbox | None = None
        self._release: finalize[[int], Place] | None = None

    def lock(self) -> Status:
        """Lock the file: `taken` by another process, or `unlocked` because the folder cannot be written."""
        if self._lock is None or self._release:
            return "locked"
        try:
            handle = os.open(self._lock, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            return "unlocked"
        if not _try_lock(handle):
            os.close(handle)
            return "taken"
        self._release = finalize(self, os.close, handle)
        # A thread may still write the file while the interpreter ends.
        self._release.atexit = False
        return "locked"

    def leave(self) -> None:
        """Give the file to another process."""
        self.owner = None
        if self._release:
            self._release()
            self._release = None


_places: "WeakValueDictionary[Path, Place]" = WeakValueDictionary()


def place_of(file: Path) -> Place:
    """Return the place of a file, the same one for all attempts of this process."""
    lock = file.with_name(f"{file.name}.lock")
    return _places.setdefault(lock, Place(lock))


def _try_lock(handle: int) -> bool:
    """Return False if another process has the lock. A file system without locks is used without them."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (EACCES, EAGAIN)
    return True


def _forget_parent() -> None:
    """Leave the parent's files: a process that was forked has its locks and must not use them."""
    for place in list(_places.values()):
        place.leave()
        place.reset()


if sys.platform != "win32":
    os.register_at_fork(after_in_child=_forget_parent)
