"""The version, under the names PyTorch users look for."""
__version__ = "0.1.0"
cuda = None
hip = None
debug = False
git_version = "unknown"
