"""What the rows know of how loud speakers are, for their gain in the mix."""

from collections.abc import Iterable

from discord_recorder.audio.levelling import GainLine, Levelling, MeasuredChunk
from discord_recorder.audio.loudness import Loudness
from discord_recorder.recording.finishing.gaps import stretches_of
from discord_recorder.storage.records import Chunk, RecordingTrack


def measured(chunk: Chunk) -> MeasuredChunk:
    """A DONE chunk; what was lost of it counts as sound, for most of that is concealed."""
    found = stretches_of(chunk)
    loudness = None if found.loudness is None else Loudness(blocks=found.loudness, peak_dbfs=found.peak_dbfs)
    return MeasuredChunk(
        start_sample=chunk.start_sample,
        end_sample=chunk.end_sample,
        sounding=[*found.heard, *found.lost],
        loudness=loudness,
    )


def mended_gains(track: RecordingTrack, mended: Iterable[Chunk]) -> GainLine | None:
    """A track's gain in a mix that is mended; None where speakers are not levelled.

    It stays what it was, so that the windows around join: what is put in has the gain of its place. Only of a speaker
    of whom nothing could be transcoded before it is made now.
    """
    if track.mix_gains is None:
        return None
    gains = GainLine.from_json(track.mix_gains)
    if gains.changes or track.heard_samples:
        return gains
    levelling = Levelling()
    for chunk in mended:
        if chunk.track == track.track:
            levelling.add(measured(chunk))
    return GainLine(levelling.line.changes)
