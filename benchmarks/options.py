"""What a run measures and how much of it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Sizes of a run; the defaults fit in about ten minutes on two cores."""

    tracks: int = 50
    """Tracks of `latency` and `push`."""
    seconds: float = 65.0
    """How long `latency` pushes in real time, and how much audio a track `push` pushes; ends between two chunks."""
    slices: int = 3
    """How often `transcode` measures each way, in turns."""
    slice_seconds: float = 90.0
    """Length of such a slice; times the speakers gives the audio in it."""
    short_minutes: float = 5.0
    """Length of the short meeting of `stop`."""
    hours: float = 3.0
    """Length of the long meeting of `stop`."""
    stops: int = 3
    """How often the short meeting is stopped."""
    live_seconds: float = 20.0
    """How long each call of `live` is measured."""
    live_talkers: tuple[int, ...] = (5, 25, 100)
    """How many talk in these calls."""
    clock_hours: float = 8.0
    """Virtual hours of `clock`."""
    replay: bool = True
    """Whether `stop` may use the same MP3 again for audio that repeats, before the part that it measures."""
    ffmpeg: str | None = None
    """FFmpeg program for both sides of every comparison; None is the one of imageio-ffmpeg."""

    @property
    def scale(self) -> float:
        """How many times the defaults' work this may be, at least 1."""
        audio = max(self.tracks / DEFAULT.tracks, 1.0) * max(self.seconds / DEFAULT.seconds, 1.0)
        slices = self.slices * self.slice_seconds / (DEFAULT.slices * DEFAULT.slice_seconds)
        stops = (self.hours / DEFAULT.hours + self.stops * self.short_minutes / 60) * (1 if self.replay else 10)
        return max(1.0, audio, slices, stops)


DEFAULT = Options()

QUICK = Options(
    tracks=8,
    seconds=22.0,
    slices=1,
    slice_seconds=20.0,
    short_minutes=0.6,
    hours=0.03,
    stops=1,
    live_seconds=2.0,
    live_talkers=(2, 25),
    clock_hours=0.1,
)
"""Only to see that everything runs; the figures mean nothing."""
