"""The version of this package, alone in a file so that every room may read it."""

__version__ = "0.1.0"
