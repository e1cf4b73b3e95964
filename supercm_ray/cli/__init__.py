"""The command line."""

from supercm_ray.cli.app import main

__all__ = ["main"]
