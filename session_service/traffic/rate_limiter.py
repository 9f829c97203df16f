"""Rate limiter: a token bucket for each principal, shared by all instances through Redis.

The bucket is the generic cell rate algorithm as virtual scheduling (ITU-T I.371): its only state is the time
at which it will be full again, and each request adds its cost to that time.
"""

from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha256
from time import monotonic

from session_service.sessions.errors import RateLimitedError
from session_service.traffic.batching import Batcher

Take = Callable[[Sequence[str], Sequence[int]], Awaitable[list[int]]]
"""Runs TAKE in Redis; raises an error of `unreachable` if that fails."""

_SECOND = 1_000_000  # microseconds, the unit of this module
_MAX_LOCAL_BUCKETS = 10_000  # principals whose buckets a process keeps

# KEYS are buckets; ARGV: the cost of a request, and the size of a bucket. Returns the waiting time of each.
# A value out of range counts as a full bucket: after Redis's clock was set back, such a value would otherwise
# lock out its principal.
TAKE = """
local time = redis.call('time')
local now = time[1] * 1000000 + time[2]
local cost, size = tonumber(ARGV[1]), tonumber(ARGV[2])
local waits = {}
for n, key in ipairs(KEYS) do
  local held = redis.pcall('get', key)
  local full = type(held) == 'string' and tonumber(held) or now
  if not (full > now and full <= now + size) then full = now end
  waits[n] = math.max(0, full + cost - size - now)
  if waits[n] == 0 then
    redis.call('set', key, string.format('%.0f', full + cost), 'px', math.ceil((full + cost - now) / 1000))
  end
end
return waits
"""


class RateLimiter:
    """Limits each principal to `per_minute` requests, in a burst or evenly; 0 means no limit.

    While Redis is unreachable, each process has its own buckets.
    """

    def __init__(
        self, take: Take, per_minute: int, *, unreachable: type[Exception], max_batch_size: int
    ) -> None:
        self._cost = 60 * _SECOND // per_minute if per_minute else 0
        self._size = self._cost * per_minute
        self._local = LocalBuckets(self._cost, self._size)
        self._take = take
        self._unreachable = unreachable
        self._waits: Batcher[str, int] = Batcher(
            self._count, lane="rate_limit", concurrency=1, max_batch_size=max_batch_size
        )

    async def acquire(self, principal: str) -> None:
        """Count a request of the principal with this key; raise RateLimitedError over its limit."""
        if not self._cost:
            return
        # Hashed, so that Redis contains no user id.
        wait = await self._waits(f"limit:{sha256(principal.encode()).hexdigest()[:32]}")
        if wait:
            raise RateLimitedError(-(-wait // _SECOND))

    async def _count(self, keys: list[str]) -> list[int]:
        try:
            return await self._take(keys, (self._cost, self._size))
        except self._unreachable:
            return [self._local.take(key) for key in keys]


class LocalBuckets:
    """The buckets of one process, for the principals with the most recent requests."""

    def __init__(self, cost: int, size: int) -> None:
        self._cost = cost
        self._size = size
        self._full: dict[str, int] = {}

    def take(self, key: str) -> int:
        """Take the cost of a request and return 0, or only return the waiting time."""
        now = int(monotonic() * _SECOND)
        full = max(now, self._full.pop(key, now))
        wait = max(0, full + self._cost - self._size - now)
        self._full[key] = full if wait else full + self._cost
        if len(self._full) > _MAX_LOCAL_BUCKETS:
            del self._full[next(iter(self._full))]
        return wait
