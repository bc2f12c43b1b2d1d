import pytest


@pytest.fixture(autouse=True)
def _whatever_the_speed(pushes_wait_for_sealing: None) -> None:
    """See there."""
