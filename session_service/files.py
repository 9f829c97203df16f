"""Finds the contract and the SQL: inside the package if it is installed, beside it in a checkout."""

from pathlib import Path

PACKAGE = Path(__file__).parent


def find(name: str) -> Path:
    """Return the path of a file or folder that is at the root of the repository, and in the wheel inside."""
    packaged = PACKAGE / name
    return packaged if packaged.exists() else PACKAGE.parent / name
