from typing import Any

from discord_recorder.recording.export.labels import labels_of
from discord_recorder.recording.finishing.manifest import Manifest


def manifest(**values: Any) -> Manifest:
    nothing: dict[str, Any] = {"notes": [], "pauses": [], "events": [], "clock": [{"at_ms": 0, "wall_at": ""}]}
    made: Manifest = {**nothing, **values}  # type: ignore[typeddict-item]
    return made


def note(at_ms: int, text: str, name: str | None = None) -> dict[str, Any]:
    return {"at_ms": at_ms, "wall_at": "", "user_id": None, "name": name, "text": text}


def test_nothing_happened() -> None:
    assert labels_of(manifest()) == ""


def test_all_kinds_in_order_of_time() -> None:
    """A pause that kept session time has a length, one that stopped it has none."""
    told = manifest(
        notes=[note(7_200_001, "one\ttwo\nthree", "A\tda"), note(10, "first")],
        pauses=[
            {"at_ms": 2000, "wall_at": "", "wall_ms": 3_661_400},
            {"at_ms": 5000, "wall_at": "", "wall_ms": 1000},
        ],
        clock=[{"at_ms": 0, "wall_at": ""}, {"at_ms": 2000, "wall_at": ""}, {"at_ms": 6000, "wall_at": ""}],
        events=[
            {"kind": "connected", "at_ms": 0, "ends_ms": None, "reason": None},
            {"kind": "disconnected", "at_ms": 3000, "ends_ms": 4500, "reason": "close code\n4015"},
            {"kind": "disconnected", "at_ms": 8000, "ends_ms": 9000, "reason": None},
            {"kind": "ended", "at_ms": 9000, "ends_ms": None, "reason": "kicked"},
        ],
    )
    assert labels_of(told).splitlines() == [
        "0.010000\t0.010000\tfirst",
        "2.000000\t2.000000\tpaused for 1:01:01",
        "3.000000\t4.500000\tdisconnected: close code 4015",
        "5.000000\t6.000000\tpaused for 0:00:01",
        "8.000000\t9.000000\tdisconnected",
        "7200.001000\t7200.001000\tA da: one two three",
    ]
