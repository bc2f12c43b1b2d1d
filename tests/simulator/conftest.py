import pytest

from tests.simulator.parts import Parts


@pytest.fixture
def parts() -> Parts:
    """A Discord without sockets, with two voice servers that only note."""
    return Parts()
