"""Availability of mps in this build."""


def is_available() -> bool:
    """False: not part of this build."""
    return False


def is_built() -> bool:
    """False: not part of this build."""
    return False
