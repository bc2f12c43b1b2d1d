from discord_recorder.storage.stretches import Stretches


def test_as_json_and_back() -> None:
    stretches = Stretches(
        heard=[(480_000, 480_960), (481_920, 960_000)], lost=[(480_960, 481_920)], concealed_samples=960
    )
    text = stretches.to_json()
    assert text == '{"heard":[[480000,480960],[481920,960000]],"lost":[[480960,481920]],"concealed":960}'
    assert Stretches.from_json(text) == stretches
    assert Stretches.from_json(Stretches(heard=[]).to_json()) == Stretches(heard=[], lost=[])


def test_loudness_is_there_where_it_was_measured() -> None:
    stretches = Stretches(heard=[(0, 960)], loudness=[(-46, 12), (-45, 3)], peak_dbfs=-6)
    text = stretches.to_json()
    assert text == '{"heard":[[0,960]],"lost":[],"concealed":0,"loudness":[[-46,12],[-45,3]],"peak":-6}'
    assert Stretches.from_json(text) == Stretches(
        heard=[(0, 960)], lost=[], loudness=[(-46, 12), (-45, 3)], peak_dbfs=-6
    )
