"""Availability of openmp in this build."""


def is_available() -> bool:
    """False: not part of this build."""
    return False
