from discord_recorder.storage.stretches import Stretches


def test_as_json_and_back() -> None:
    stretches = Stretches(
        heard=[(480_000, 480_960), (481_920, 960_000)], lost=[(480_960, 481_920)], concealed_samples=960
    )
    text = stretches.to_json()
    assert text == '{"heard":[[480000,480960],[481920,960000]],"lost":[[480960,481920]],"concealed":960}'
    assert Stretches.from_json(text) == stretches
    assert Stretches.from_json(Stretches(heard=[]).to_json()) == Stretches(heard=[], lost=[])
