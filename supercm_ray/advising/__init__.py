"""The command `advise`: how many labels an accuracy needs, from the learning curve of studies and runs."""

from supercm_ray.advising.advise import Advice, advise

__all__ = ["Advice", "advise"]
