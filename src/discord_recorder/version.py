"""The version of this program; `pyproject.toml` names the same."""

from typing import Final

__version__: Final = "0.1.0"
