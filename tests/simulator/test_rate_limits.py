"""Rate limits, with time as a number."""

from discord_recorder.simulator.rest.rate_limits import Failure, RateLimit, RateLimits, Verdict


def judge(limits: RateLimits, now: float, scope: str = "a") -> Verdict:
    return limits.judge("GET /x", scope, "/api/v10/x", now, 1_000.0 + now)


def test_a_bucket_fills_refuses_and_empties() -> None:
    limits = RateLimits(RateLimit(requests=2, per_seconds=10))
    first, second, third = (judge(limits, at) for at in (0.0, 1.0, 4.0))
    assert [each.headers["X-RateLimit-Remaining"] for each in (first, second)] == ["1", "0"]
    assert (first.headers["X-RateLimit-Reset-After"], second.headers["X-RateLimit-Reset-After"]) == ("10.000", "9.000")
    assert first.headers["X-RateLimit-Reset"] == second.headers["X-RateLimit-Reset"] == "1010.000"
    assert third.refusal is not None
    status, body = third.refusal
    assert (status, body["retry_after"], body["global"]) == (429, 6.0, False)
    assert "Via" in third.headers
    assert judge(limits, 10.0).refusal is None


def test_scopes_have_buckets_of_their_own() -> None:
    limits = RateLimits(RateLimit(requests=1, per_seconds=10))
    assert [judge(limits, 0.0, scope).refusal is None for scope in "aab"] == [True, False, True]


def test_planned_failures_hit_what_they_are_for_once() -> None:
    limits = RateLimits(RateLimit())
    limits.plan(Failure(path="/y"))
    limits.plan(Failure(is_global=True, retry_after_seconds=2.0))
    verdict = judge(limits, 0.0)
    assert verdict.refusal == (429, {"message": "You are being rate limited.", "retry_after": 2.0, "global": True})
    assert verdict.headers["X-RateLimit-Scope"] == "global"
    assert judge(limits, 0.0).refusal is None
    assert limits.judge("GET /y", "a", "/api/v10/y", 0.0, 0.0).refusal is not None
    assert limits.judge("GET /y", "a", "/api/v10/y", 0.0, 0.0).refusal is None
