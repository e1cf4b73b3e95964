"""The command line."""

from supercm_ray.cli.entry import main

__all__ = ["main"]
