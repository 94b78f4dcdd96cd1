"""The benchmark suite: see README.md beside this file."""
