"""How often a caller may ask: a bucket for each, in Redis, so that all instances count together.

The bucket is the generic cell rate algorithm as virtual scheduling (ITU-T I.371): of a caller only the moment
is kept at which its bucket will be full again, and a request moves that on by what it costs.
"""

from hashlib import sha256
from time import monotonic

from session_service.sessions.errors import RateLimitedError
from session_service.sessions.models import Caller
from session_service.settings import Settings
from session_service.storage.session_cache import Cache, UnreachableError
from session_service.traffic.batching import Lane

_SECOND = 1_000_000  # microseconds, in which everything here is counted
_CALLERS = 10_000  # whose buckets a process keeps

# KEYS are buckets; ARGV: what a request costs, and what a bucket holds. Answers with how long each has to
# wait. What cannot be a bucket is a full one: after Redis's clock was set back it would lock its caller out.
_TAKE = """
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


class Limits:
    """Rate limiter: RATE_LIMIT for each learner or address, SERVICE_RATE_LIMIT for each service's token.

    A service acts for many learners: as one of them, a platform's back-end would be limited to the rate of a
    single learner.
    """

    def __init__(self, cache: Cache, settings: Settings) -> None:
        self._learners = Limit(cache, settings.rate_limit, settings.batch_size)
        self._services = Limit(cache, settings.service_rate_limit, settings.batch_size)

    async def spend(self, caller: Caller) -> None:
        """Count a request of the caller's; raise RateLimitedError, and count nothing, if it has to wait."""
        await (self._services if caller.service else self._learners).spend(caller.name)


class Limit:
    """Lets each caller ask so often in a minute, all at once or spread as it likes; 0 is no limit.

    Each process counts for itself while it does not believe Redis.
    """

    def __init__(self, cache: Cache, per_minute: int, batch_size: int) -> None:
        self._cost = 60 * _SECOND // per_minute if per_minute else 0
        self._size = self._cost * per_minute
        self._own = Buckets(self._cost, self._size)
        self._take = cache.script(_TAKE)
        self._waits: Lane[str, int] = Lane(self._count, places=1, size=batch_size)

    async def spend(self, name: str) -> None:
        """Count a request of the caller of that name; raise RateLimitedError if it has to wait."""
        if not self._cost:
            return
        # Redis is not told who it is.
        wait = await self._waits(f"limit:{sha256(name.encode()).hexdigest()[:32]}")
        if wait:
            raise RateLimitedError(-(-wait // _SECOND))

    async def _count(self, keys: list[str]) -> list[int]:
        try:
            return await self._take(keys, (self._cost, self._size))
        except UnreachableError:
            return [self._own.take(key) for key in keys]


class Buckets:
    """The buckets of a process, those of the callers that asked last."""

    def __init__(self, cost: int, size: int) -> None:
        self._cost = cost
        self._size = size
        self._full: dict[str, int] = {}

    def take(self, key: str) -> int:
        """Take what a request costs and return 0, or take nothing and return for how long it has to wait."""
        now = int(monotonic() * _SECOND)
        full = max(now, self._full.pop(key, now))
        wait = max(0, full + self._cost - self._size - now)
        self._full[key] = full if wait else full + self._cost
        if len(self._full) > _CALLERS:
            del self._full[next(iter(self._full))]
        return wait
