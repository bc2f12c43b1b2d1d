"""Make the demo speech: a short meeting of three people, one Ogg Opus file per speaker.

A maintainers' tool; neither the program nor its tests run it.  It needs the Debian packages `flite` and `ffmpeg`
(with libopus), both found on PATH, and writes to `src/discord_recorder/assets/speech` unless told otherwise:

    python3 scripts/make_demo_speech.py [OUTPUT_DIRECTORY]

All files have the same length and share one clock, and each is digital silence while its speaker says nothing, so
that the plain sum of the files is the meeting.  The same versions of the tools give the same bytes again.

Licence: the words below were written for this project.  Flite and its voices slt, rms and awb (Carnegie Mellon
University) may be used, copied, modified and sold free of charge under a permissive BSD-like licence, whose conditions
are about copies of the software; it puts no condition on the sound that the software makes.  The output may therefore
be shipped with this project.  (The same holds for espeak-ng, under GPL-3: that covers the program, not its output.)
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from array import array
from dataclasses import dataclass
from pathlib import Path

RATE = 48_000
LEAD_IN = 0.6  # seconds of silence before the first word
LEAD_OUT = 1.0  # and after the last one
FADE = 0.012  # seconds, at both edges of every line
LOUDNESS = -20.0  # LUFS while talking (the measurement gates silence away)
PEAK = 0.56  # limiter ceiling (-5 dBFS), so that the lossy codec's overshoot also stays below -3 dBFS
BITRATE = "30k"
DEFAULT_OUTPUT = Path(__file__).resolve().parent.parent / "src" / "discord_recorder" / "assets" / "speech"


@dataclass(frozen=True)
class Voice:
    """A speaker's flite voice; `stretch` above 1 speaks more slowly."""

    flite: str
    stretch: float


@dataclass(frozen=True)
class Line:
    """Something said `gap` seconds after everyone before has finished; below zero: while they still talk."""

    who: str
    gap: float
    text: str


VOICES = {"Ada": Voice("slt", 1.02), "Ben": Voice("rms", 1.0), "Chris": Voice("awb", 1.04)}

DIALOGUE = (
    Line("Ada", 0.0, "Good morning, everyone. Can you both hear me?"),
    Line("Ben", 0.5, "Loud and clear. Good morning, Ada."),
    Line("Chris", -0.45, "Good morning! I have coffee, so I am ready."),
    Line("Ada", 0.5, "Lovely. There is one thing to decide today: where do we go for our summer day out?"),
    Line("Ben", 0.7, "I asked around. Fourteen people want to come, and most of them can make the twelfth of June."),
    Line("Ada", -2.6, "Great."),
    Line("Chris", 0.4, "The twelfth is fine for me. How much money do we have?"),
    Line("Ben", 0.6, "Six hundred euros in all. So, a little over forty each."),
    Line("Ada", 0.5, "Then I see two options. The boat trip on the lake costs thirty five euros a person, with lunch."),
    Line("Chris", -1.4, "Oh, nice!"),
    Line("Ben", 0.5, "And the walk in the hills is almost free, but last year it rained for five hours."),
    Line("Chris", -0.9, "Ha ha ha! Yes. I think my shoes are still wet."),
    Line("Ada", -0.4, "Ha ha ha!"),
    Line("Ada", 0.6, "So, fourteen times thirty five is four hundred and ninety. That leaves a hundred and ten euros."),
    Line("Ben", -2.9, "Right."),
    Line("Chris", 0.4, "That is enough for ice cream, and for the bus home."),
    Line("Ben", 0.9, "Good point. I vote for the boat."),
    Line("Chris", -1.0, "Yes, the boat, please."),
    Line("Ada", 0.5, "Then it is decided: we take the boat, on the twelfth. Who makes the booking?"),
    Line("Ben", 0.6, "I can do that. I will call them this afternoon, before four o'clock."),
    Line("Chris", 0.4, "And I will write to everybody tonight, and ask what they would like to eat."),
    Line("Ada", -2.0, "Yes."),
    Line("Ada", 0.5, "Perfect. Thank you both. That was quick!"),
    Line("Ben", 0.5, "Thank you, Ada. See you on Monday."),
    Line("Chris", -0.8, "Thanks! Bye bye."),
    Line("Ada", -0.5, "Bye!"),
)


def run(command: list[str]) -> subprocess.CompletedProcess[bytes]:
    """Run a command; when it fails, show what it said."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{command[0]} failed:\n{done.stderr.decode(errors='replace')}")
    return done


def ffmpeg(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    return run(["ffmpeg", "-hide_banner", "-nostats", "-y", *arguments])


def say(line: Line, scratch: Path) -> array[int]:
    """Speak one line: 16-bit mono samples without silence around them, with faded edges."""
    voice = VOICES[line.who]
    wav = scratch / "line.wav"
    pace = f"duration_stretch={voice.stretch}"
    run(["flite", "-voice", voice.flite, "--setf", pace, "-t", line.text, "-o", str(wav)])
    trim = "silenceremove=start_periods=1:start_threshold=-46dB:start_silence=0.04"
    filters = f"highpass=f=70,{trim},areverse,{trim},areverse,aresample={RATE}"
    samples = array("h", ffmpeg("-i", str(wav), "-af", filters, "-f", "s16le", "-ac", "1", "-").stdout)
    if sys.byteorder == "big":
        samples.byteswap()
    fade = int(FADE * RATE)
    for index in range(fade):
        samples[index] = samples[index] * index // fade
        samples[-1 - index] = samples[-1 - index] * index // fade
    return samples


def schedule(spoken: list[array[int]]) -> list[int]:
    """The sample at which each line of the dialogue starts."""
    starts: list[int] = []
    floor = int(LEAD_IN * RATE)  # when everyone so far has finished
    quiet_from = dict.fromkeys(VOICES, 0)
    for line, samples in zip(DIALOGUE, spoken, strict=True):
        start = floor + int(line.gap * RATE)
        if start < quiet_from[line.who]:
            sys.exit(f"{line.who} would talk over themselves: {line.text}")
        quiet_from[line.who] = start + len(samples)
        floor = max(floor, quiet_from[line.who])
        starts.append(start)
    return starts


def loudness(track: Path, source: list[str]) -> float:
    """The gated loudness of a raw track, in LUFS."""
    report = ffmpeg(*source, str(track), "-af", "ebur128=framelog=quiet", "-f", "null", "-").stderr.decode()
    found = re.findall(r"\bI:\s+(-?[\d.]+) LUFS", report)
    if not found:
        sys.exit(f"ffmpeg reported no loudness:\n{report}")
    return float(found[-1])


def encode(samples: array[int], target: Path, scratch: Path) -> None:
    """Bring a speaker's track to the common loudness and write it as Ogg Opus."""
    track = scratch / "track.raw"
    if sys.byteorder == "big":
        samples.byteswap()
    track.write_bytes(samples.tobytes())
    source = ["-f", "s16le", "-ar", str(RATE), "-ac", "1", "-i"]
    gain = LOUDNESS - loudness(track, source)
    filters = f"volume={gain:.2f}dB,alimiter=limit={PEAK}:attack=3:release=60:level=0:latency=1,aformat=s16"
    # "lowdelay" keeps to the codec's CELT mode, which decodes digital silence as digital silence.
    # The voices have nothing above 8 kHz.
    opus = ["-c:a", "libopus", "-b:a", BITRATE, "-vbr", "on", "-application", "lowdelay", "-cutoff", "8000"]
    ffmpeg(*source, str(track), "-af", filters, *opus, "-map_metadata", "-1", "-fflags", "+bitexact", str(target))


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the demo speech (needs flite and ffmpeg).")
    parser.add_argument("output", nargs="?", type=Path, default=DEFAULT_OUTPUT)
    output: Path = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as directory:
        scratch = Path(directory)
        spoken = [say(line, scratch) for line in DIALOGUE]
        starts = schedule(spoken)
        end = max(start + len(samples) for start, samples in zip(starts, spoken, strict=True))
        total = end + int(LEAD_OUT * RATE)
        tracks = {who: array("h", bytes(2 * total)) for who in VOICES}
        for line, start, samples in zip(DIALOGUE, starts, spoken, strict=True):
            tracks[line.who][start : start + len(samples)] = samples
            print(f"{start / RATE:6.2f} - {(start + len(samples)) / RATE:6.2f}  {line.who:<6} {line.text}")
        for who, track in tracks.items():
            target = output / f"{who}.ogg"
            encode(track, target, scratch)
            print(f"{target.name}: {total / RATE:.3f} s, {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
