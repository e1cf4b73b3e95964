"""Runs the command line: `python -m supercm_ray`."""

from supercm_ray.cli import main

if __name__ == "__main__":
    main()
