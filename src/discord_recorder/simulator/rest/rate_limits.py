"""Rate limits: the headers of every answer, buckets that can be made small, and 429s on command. No clock, no I/O."""

from collections import OrderedDict, deque
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from discord_recorder.simulator.entities import Json

MAX_BUCKETS: Final = 10_000
MAX_PLANNED: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """How many requests a bucket takes in which time."""

    requests: int = 1_000
    per_seconds: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An answer on command instead of the real one: 429, or a server's error."""

    status: int = 429
    retry_after_seconds: float = 0.05
    is_global: bool = False
    path: str | None = None
    """Only to requests whose path has this in it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the limits say to a request."""

    headers: dict[str, str]
    refusal: tuple[int, Json] | None = None
    """A status and a body, if the request is not to be served."""


@dataclass(slots=True)
class _Bucket:
    window_ends: float = 0.0
    used: int = 0


class RateLimits:
    """All buckets; one for each route, bot and major parameter (channel, guild, webhook)."""

    def __init__(self, limit: RateLimit) -> None:
        self._limit = limit
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self._planned: deque[Failure] = deque(maxlen=MAX_PLANNED)

    def plan(self, failure: Failure) -> None:
        """Answer one of the next requests so."""
        self._planned.append(failure)

    def judge(self, route: str, scope: str, path: str, now: float, wall: float) -> Verdict:
        """Count a request; `now` is monotonic, `wall` Unix seconds (for one header)."""
        for failure in self._planned:
            if failure.path is None or failure.path in path:
                self._planned.remove(failure)
                return self._fail(failure, route)
        bucket = self._bucket(route, scope)
        if now >= bucket.window_ends:
            bucket.window_ends, bucket.used = now + self._limit.per_seconds, 0
        left_seconds = bucket.window_ends - now
        if bucket.used >= self._limit.requests:
            headers = self._headers(route, bucket, left_seconds, wall)
            return self._refuse(headers, left_seconds, is_global=False, scope="user")
        bucket.used += 1
        return Verdict(headers=self._headers(route, bucket, left_seconds, wall))

    def _bucket(self, route: str, scope: str) -> _Bucket:
        key = (route, scope)
        bucket = self._buckets.setdefault(key, _Bucket())
        self._buckets.move_to_end(key)
        if len(self._buckets) > MAX_BUCKETS:
            self._buckets.popitem(last=False)
        return bucket

    def _headers(self, route: str, bucket: _Bucket, left_seconds: float, wall: float) -> dict[str, str]:
        return {
            "X-RateLimit-Limit": str(self._limit.requests),
            "X-RateLimit-Remaining": str(self._limit.requests - bucket.used),
            "X-RateLimit-Reset": f"{wall + left_seconds:.3f}",
            "X-RateLimit-Reset-After": f"{left_seconds:.3f}",
            "X-RateLimit-Bucket": sha256(route.encode()).hexdigest()[:32],
        }

    def _fail(self, failure: Failure, route: str) -> Verdict:
        if failure.status != 429:  # noqa: PLR2004 - Too Many Requests
            return Verdict(headers={}, refusal=(failure.status, {"message": "Service unavailable", "code": 0}))
        scope = "global" if failure.is_global else "shared"
        headers = {"X-RateLimit-Bucket": sha256(route.encode()).hexdigest()[:32]}
        return self._refuse(headers, failure.retry_after_seconds, is_global=failure.is_global, scope=scope)

    def _refuse(self, headers: dict[str, str], seconds: float, *, is_global: bool, scope: str) -> Verdict:
        body = {"message": "You are being rate limited.", "retry_after": round(seconds, 3), "global": is_global}
        about = {"Retry-After": str(int(seconds) + 1), "X-RateLimit-Scope": scope, "Via": "1.1 simulator"}
        if is_global:
            about["X-RateLimit-Global"] = "true"
        return Verdict(headers=headers | about, refusal=(429, body))
