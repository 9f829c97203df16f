"""The lock of a file, which one process of the device holds and shows signs of life."""

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
BEAT = 5.0  # seconds between two signs of life
TAKEOVER = 30.0  # seconds without one after which another process replaces the lock


class FileLock:
    """A lock, which the operating system removes when the process ends, by whatever cause.

    A process that is frozen still holds it, but gives no sign of life, which is the file's time. Another one
    then replaces the file, by which the frozen one notices later that it has lost the lock.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._handle: int | None = None
        self._release: finalize[[int], FileLock] | None = None
        self._sign: object = None  # the last sign of life of another process, and when it was seen first
        self._seen = 0.0

    @property
    def was_replaced(self) -> bool:
        """Return whether another process has replaced the lock that this one had."""
        # The thread that gives signs of life runs while others release the lock.
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
            locked = locked or (self._is_silent() and self._replace())
        return "locked" if locked else "taken"

    def release(self) -> None:
        """Give the lock to another process."""
        self._handle = None
        if self._release:
            self._release()
            self._release = None

    def beat(self, release: object) -> bool:
        """Give a sign of life, unless the lock has been released since; return whether it has not."""
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
        self.beat(self._release)
        beat = Thread(target=_beat, args=(ref(self), self._release), name="signs-of-life", daemon=True)
        # While the interpreter ends it starts no thread.
        with suppress(RuntimeError):
            beat.start()
        return True

    def _is_silent(self) -> bool:
        """Return whether the process that has the lock has given no sign of life for long."""
        status, now = self._file.stat(), time.monotonic()
        sign = (status.st_ino, status.st_mtime_ns)
        if sign != self._sign:
            self._sign, self._seen = sign, now
        return now - self._seen > TAKEOVER

    def _replace(self) -> bool:
        """Replace the file of a silent process and lock the new one; only one process at a time may do so."""
        handle = os.open(self._file.with_name(f"{self._file.name}.takeover"), os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if not _try_lock(handle) or not self._is_silent():
                return False
            self._file.unlink()
            return self._lock()
        finally:
            os.close(handle)


def _beat(lock: "ReferenceType[FileLock]", release: object) -> None:
    """Give signs of life for a lock until it is released."""
    while True:
        time.sleep(BEAT)
        held = lock()
        if held is None or not held.beat(release):
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
