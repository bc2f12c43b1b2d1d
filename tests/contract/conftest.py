import pytest


@pytest.fixture(autouse=True)
def _whatever_the_speed(chunks_as_on_a_fast_machine: None) -> None:
    """See there."""
