"""What a simulated voice server can be told to do differently."""

from dataclasses import dataclass, field

from discord_recorder.simulator.voice.rtp import MODES, Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class VoiceOptions:
    """Settings of a voice server; the defaults are Discord's habits as far as they are known (PROTOCOL)."""

    heartbeat_interval_ms: float = 13_750.0
    missed_heartbeats: float = 3.0
    """After so many intervals without a heartbeat the session ends with 4009."""
    resume_seconds: float = 15.0
    """How long a session without a websocket can be resumed; then its user has left."""
    modes: tuple[str, ...] = tuple(MODES)
    shape: Shape = field(default_factory=Shape)
    """What is added to forwarded packets."""
    dave_version: int = 1
    """Of a new call."""
    dave_batch_seconds: float = 0.0
    """How long newcomers wait to be proposed together; 0 proposes each at once. Use it for calls of many."""
    require_dave: bool = True
    """Close clients that cannot do a call's DAVE version with 4017, instead of bringing the call down to theirs."""
    tell_ssrcs: bool = True
    """Tell everybody's SSRC by op 12 at once, not only by SPEAKING."""
    silence_first: bool = False
    """Forward nothing to a client before it has sent a packet itself."""
    seed: int = 0
    """Of everything that is drawn by lot: padding, faults, garbage. Keys and SSRCs are never repeatable."""
