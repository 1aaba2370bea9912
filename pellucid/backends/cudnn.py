"""cuDNN's switches: settable, without effect on the CPU."""
enabled = False
benchmark = False
deterministic = False
allow_tf32 = False


def is_available() -> bool:
    """False: not part of this build."""
    return False


def version():
    """None: not part of this build."""
    return None
