"""The version of the package, alone: the build reads it without importing anything compiled."""

__version__ = "0.1.0"
