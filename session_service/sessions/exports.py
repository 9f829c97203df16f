"""Exports: all sessions that pass a filter, page by page, as CSV or as lines of JSON, at low priority."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from time import perf_counter
from typing import Literal, Protocol, TypeVar

import attrs
from attrs import frozen

from session_service.sessions import codec, csv_table
from session_service.sessions.csv_table import MAX_QUESTIONS, CsvTable
from session_service.sessions.errors import ServiceUnavailableError
from session_service.sessions.models import Cursor, ExternalId, Reach, SessionSummary, Status

MAX_EXPORTS = 4  # exports that run at the same time
RETRY_AFTER = 10  # seconds after which a rejected export may be repeated
LOOP_SHARE = 0.25  # share of the event loop's time that all exports together take for encoding
QUERY_SHARE = 0.5  # share of the time in which PostgreSQL reads pages for them
SHUTDOWN_TIMEOUT = 5.0  # seconds from the begin of graceful shutdown to the end of running exports
MAX_PAGE_BYTES = 256 * 1024  # bytes of the JSON of a page, beyond its first session

_FIRST_COUNT, _MAX_COUNT = 16, 1024  # sessions that a page reads
_SLICE = 0.0005  # seconds of encoding after which other requests have their turn
_CHUNK_BYTES = 64 * 1024  # bytes after which a chunk is sent
_ATTEMPTS = 4  # attempts to read a page, once the export has begun
_RETRY_INTERVAL = 1.0  # seconds between two of them

Format = Literal["csv", "ndjson"]


@frozen
class ExportFilter:
    """The filters of an export."""

    user_id: str | None = None
    quiz_id: ExternalId | None = None
    status: Status | None = None

    def within(self, reach: Reach) -> "list[ExportFilter]":
        """Return the filters that together have the sessions within reach: one for each quiz of a proctor."""
        if reach.owner is None:
            return [self]
        quizzes = reach.quizzes if self.quiz_id is None else reach.quizzes & {self.quiz_id}
        return [attrs.evolve(self, quiz_id=quiz) for quiz in sorted(quizzes)]


@frozen
class PageRequest:
    """The next page of an export: it reads up to `count` sessions behind the cursor."""

    wanted: ExportFilter
    after: Cursor | None
    count: int


@frozen
class Page:
    """A page that has read `scanned` sessions up to `last`; without that, no session is left."""

    scanned: int
    last: Cursor | None


@frozen
class SessionsPage(Page):
    """The sessions of a page that pass the filter, newest first."""

    sessions: Sequence[SessionSummary]


@frozen
class QuestionsPage(Page):
    """The questions of a page to which a session that passes the filter has an answer."""

    questions: Sequence[str]


AnyPage = TypeVar("AnyPage", SessionsPage, QuestionsPage)


class ExportReader(Protocol):
    """The storage of the exports. It holds a connection for the time of a statement only."""

    def sessions(self, wanted: PageRequest, /) -> Awaitable[SessionsPage]:
        """Return the next sessions, once the cache has no version below those of the page."""

    def questions(self, wanted: PageRequest, /) -> Awaitable[QuestionsPage]:
        """Return the questions of the next sessions, at most MAX_QUESTIONS."""


class Export:
    """A running export: its chunks of bytes, and the number of sessions in those so far.

    It counts as running until `chunks` has ended or is closed.
    """

    def __init__(self, form: Format, chunks: "Callable[[Export], AsyncGenerator[bytes]]") -> None:
        self.form = form
        self.sessions = 0
        self.has_begun = False
        self.chunks = chunks(self)
        self._first = b""

    async def begin(self) -> None:
        """Read the first page, so that an error comes before the first chunk."""
        self._first = await anext(self.chunks, b"")
        self.has_begun = True

    async def close(self) -> None:
        """End the export."""
        await self.chunks.aclose()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._first
        async for chunk in self.chunks:
            yield chunk


class Exports:
    """Runs exports: a few at a time, one page of them at a time; at low priority in a share of the time.

    A session that exists when an export begins, and passes its filter, is in it once. It is shown as it is
    when its page is read. Pages have the order of lists, newest first, in which a new session comes before
    all others: the export is behind it already.
    """

    def __init__(self, reader: ExportReader, *, low_priority: bool = True) -> None:
        self._reader = reader
        self._low_priority = low_priority
        self._running = 0
        self._turn = asyncio.Lock()
        # The loop's time at which encoding may go on.
        self._free_at = 0.0
        self._ends_at: float | None = None

    async def open(self, reach: Reach, wanted: ExportFilter, form: Format) -> Export:
        """Begin an export; raise ServiceUnavailableError if MAX_EXPORTS run."""
        if self._running >= MAX_EXPORTS:
            raise ServiceUnavailableError("not_applied", RETRY_AFTER)
        render = self._csv if form == "csv" else self._ndjson
        export = Export(form, partial(self._run, wanted.within(reach), render))
        await export.begin()
        return export

    def begin_shutdown(self) -> None:
        """Begin graceful shutdown: exports that still run after SHUTDOWN_TIMEOUT end with an error."""
        self._ends_at = asyncio.get_running_loop().time() + SHUTDOWN_TIMEOUT

    async def _run(
        self,
        filters: list[ExportFilter],
        render: Callable[[Export, list[ExportFilter]], AsyncIterator[bytes]],
        export: Export,
    ) -> AsyncGenerator[bytes]:
        self._running += 1
        try:
            async for chunk in render(export, filters):
                yield chunk
        finally:
            self._running -= 1

    async def _ndjson(self, export: Export, filters: list[ExportFilter]) -> AsyncIterator[bytes]:
        async for chunk in self._rows(export, filters, lambda session: codec.encode_summary(session) + b"\n"):
            yield chunk

    async def _csv(self, export: Export, filters: list[ExportFilter]) -> AsyncIterator[bytes]:
        # In order of their appearance, of which the first MAX_QUESTIONS are kept.
        questions: dict[str, None] = {}
        begin = csv_table.header_start()
        async for page in self._pages(export, filters, self._reader.questions):
            questions |= dict.fromkeys(page.questions[:MAX_QUESTIONS])
            # Sent before the other pages of this pass, after which a proxy might give the request up.
            yield begin
            begin = b""
            if len(questions) >= MAX_QUESTIONS:
                break
        table = CsvTable(list(questions)[:MAX_QUESTIONS])
        yield begin + table.header_end()
        async for chunk in self._rows(export, filters, table.row):
            yield chunk

    async def _rows(
        self, export: Export, filters: list[ExportFilter], encode: Callable[[SessionSummary], bytes]
    ) -> AsyncIterator[bytes]:
        async for page in self._pages(export, filters, self._reader.sessions):
            rows: list[bytes] = []
            size, begun = 0, perf_counter()
            for session in page.sessions:
                rows.append(encode(session))
                export.sessions += 1
                size += len(rows[-1])
                if perf_counter() - begun > _SLICE or size > _CHUNK_BYTES:
                    await self._rest(perf_counter() - begun)
                    if size > _CHUNK_BYTES:
                        yield b"".join(rows)
                        rows, size = [], 0
                    begun = perf_counter()
            await self._rest(perf_counter() - begun)
            yield b"".join(rows)

    async def _pages(
        self,
        export: Export,
        filters: list[ExportFilter],
        read: Callable[[PageRequest], Awaitable[AnyPage]],
    ) -> AsyncIterator[AnyPage]:
        """Read the pages of each filter, with the empty one at its end; a page grows or shrinks to fit."""
        for wanted in filters:
            after, count = None, _FIRST_COUNT
            while True:
                page = await self._read(export, read, PageRequest(wanted, after, count))
                yield page
                if page.last is None:
                    break
                # A page that was too large for its sessions has measured the others in vain.
                grown = 2 * count if page.scanned == count else page.scanned + page.scanned // 8 + 1
                after, count = page.last, min(grown, _MAX_COUNT)

    async def _read(
        self, export: Export, read: Callable[[PageRequest], Awaitable[AnyPage]], request: PageRequest
    ) -> AnyPage:
        """Return a page, of one export after the other; once the export has begun, try again for a while.

        Each attempt reads fewer sessions: large ones, behind many that were skipped, may take too long.
        """
        attempts = _ATTEMPTS if export.has_begun else 1
        while True:
            loop = asyncio.get_running_loop()
            if self._ends_at is not None and loop.time() > self._ends_at:
                raise ServiceUnavailableError("not_applied")
            attempts -= 1
            try:
                async with self._turn:
                    begun = perf_counter()
                    page = await read(request)
                    await self._rest(perf_counter() - begun, QUERY_SHARE)
                    return page
            except ServiceUnavailableError:
                if not attempts:
                    raise
            request = attrs.evolve(request, count=max(1, request.count // 8))
            await asyncio.sleep(_RETRY_INTERVAL)

    async def _rest(self, worked: float, share: float = LOOP_SHARE) -> None:
        """Leave event loop and PostgreSQL to other requests, so that the work has this share of the time."""
        idle = worked * (1 - share) / share if self._low_priority else 0.0
        now = asyncio.get_running_loop().time()
        self._free_at = max(self._free_at, now) + idle
        await asyncio.sleep(self._free_at - now)
