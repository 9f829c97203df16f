"""The lock of a file, which one process of the device holds, with a heartbeat."""

import os
import sys
import time
from contextlib import suppress
from errno import EACCES, EAGAIN
from pathlib import Path
from threading import Thread
from typing import Literal
from weakref import ReferenceType, finalize, ref

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

Status = Literal["locked", "unlocked", "taken"]
HEARTBEAT = 5.0  # seconds
TAKEOVER = 30.0  # seconds without a heartbeat, after which another process replaces the lock


class FileLock:
    """A lock, which the operating system removes when the process ends, by whatever cause.

    A process that is frozen still holds it, but has no heartbeat, which sets the file's time. Another one
    then replaces the file, by which the frozen one notices later that it has lost the lock.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._handle: int | None = None
        self._release: finalize[[int], FileLock] | None = None
        self._heartbeat: object = None  # the last one of another process, and when it was seen first
        self._seen = 0.0

    @property
    def was_replaced(self) -> bool:
        """Return whether another process has replaced the lock that this one had."""
        # The thread of the heartbeat runs while others release the lock.
        handle = self._handle
        return handle is not None and not _is_at(handle, self._file)

    def acquire(self) -> Status:
        """Lock the file: `taken` by another process, or `unlocked` because the folder cannot be written."""
        if self._handle is not None:
            return "locked"
        try:
            locked = self._lock()
        except OSError:
            return "unlocked"
        with suppress(OSError):
            locked = locked or (self._has_no_heartbeat() and self._replace())
        return "locked" if locked else "taken"

    def release(self) -> None:
        """Give the lock to another process."""
        self._handle = None
        if self._release:
            self._release()
            self._release = None

    def send_heartbeat(self, release: object) -> bool:
        """Set the file's time, unless the lock has been released since; return whether it has not."""
        if self._release is not release:
            return False
        if not self.was_replaced:
            with suppress(OSError):
                os.utime(self._file)
        return True

    def _lock(self) -> bool:
        """Return False if another process has the lock."""
        handle = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o666)
        # Another process may have replaced the file since it was opened.
        if not (_try_lock(handle) and _is_at(handle, self._file)):
            os.close(handle)
            return False
        self._handle, self._release = handle, finalize(self, os.close, handle)
        # A thread may still write the file while the interpreter ends.
        self._release.atexit = False
        self.send_heartbeat(self._release)
        thread = Thread(
            target=_send_heartbeats, args=(ref(self), self._release), name="heartbeat", daemon=True
        )
        # While the interpreter ends it starts no thread.
        with suppress(RuntimeError):
            thread.start()
        return True

    def _has_no_heartbeat(self) -> bool:
        """Return whether the process that has the lock has had no heartbeat for long."""
        status, now = self._file.stat(), time.monotonic()
        heartbeat = (status.st_ino, status.st_mtime_ns)
        if heartbeat != self._heartbeat:
            self._heartbeat, self._seen = heartbeat, now
        return now - self._seen > TAKEOVER

    def _replace(self) -> bool:
        """Replace the file of a process without a heartbeat, and lock the new one; one process at a time."""
        handle = os.open(self._file.with_name(f"{self._file.name}.takeover"), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _try_lock(handle) or not self._has_no_heartbeat():
                return False
            self._file.unlink()
            return self._lock()
        finally:
            os.close(handle)


def _send_heartbeats(lock: "ReferenceType[FileLock]", release: object) -> None:
    """Send the heartbeat of a lock until it is released."""
    while True:
        time.sleep(HEARTBEAT)
        held = lock()
        if held is None or not held.send_heartbeat(release):
            return
        # A lock that is not used any more is released.
        del held


def _is_at(handle: int, file: Path) -> bool:
    """Return whether a handle is that of the file at this path."""
    with suppress(OSError):
        return os.path.samestat(os.fstat(handle), file.stat())
    return False


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
