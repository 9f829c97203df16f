"""Stores on the device, in which an attempt is kept until it has ended: a file, or a program's own."""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from uuid import uuid4


class Store(Protocol):
    """A store of one content. Each function may raise any exception, and is called in any thread.

    Only one `Attempt` may use a store.
    """

    def read(self) -> bytes | None:
        """Return the content; None if there is none yet."""

    def write(self, content: bytes, /) -> None:
        """Replace the content, so that a crash leaves the old or the new one."""

    def set_aside(self, content: bytes, /) -> str | Path:
        """Store a content under a new name; return the name."""


class FileStore:
    """A store in a file; `may_write` returns whether the file is still this process's own."""

    def __init__(self, file: Path, may_write: Callable[[], bool]) -> None:
        self._file, self._may_write = file, may_write

    def read(self) -> bytes | None:
        """Return the content; None if there is no file yet."""
        try:
            return self._file.read_bytes()
        except FileNotFoundError:
            return None

    def write(self, content: bytes) -> None:
        """Replace the file; a crash leaves the old or the new content."""
        write_file(self._file, content, self._may_write)

    def remove_unfinished(self) -> None:
        """Remove the files of processes that were killed while they wrote."""
        unfinished = re.compile(re.escape(self._file.name) + r"\.[0-9]+\.new")
        with suppress(OSError):
            for file in self._file.parent.iterdir():
                if unfinished.fullmatch(file.name):
                    file.unlink()

    def set_aside(self, content: bytes) -> Path:
        """Write a content beside the file."""
        aside = self._file.with_name(f"{self._file.name}.{uuid4()}")
        write_file(aside, content)
        return aside


def write_file(file: Path, content: bytes, may_write: Callable[[], bool] = lambda: True) -> None:
    """Write or replace a file; a crash of the process or the machine leaves the old or the new content."""
    new = file.with_name(f"{file.name}.{os.getpid()}.new")
    with new.open("wb") as opened:
        opened.write(content)
        opened.flush()
        os.fsync(opened.fileno())
    # As late as possible: the process may have been frozen since it began.
    if not may_write():
        raise PermissionError(file)
    new.replace(file)
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Store the names in a folder: a crash of the machine might undo their changes."""
    # Windows has no such call, and some file systems do not need it.
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
