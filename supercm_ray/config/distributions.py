"""The distributions that searched values are sampled from."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import Field, model_validator

from supercm_ray.config.registry import Frozen, rule_error
from supercm_ray.config.run import Leaf


class FloatDistribution(Frozen):
    """A uniform distribution of real numbers from `low` to `high`."""

    type: Literal["float"]
    """The kind of distribution: `float`, `int` or `categorical`."""
    low: float
    """Smallest value."""
    high: float
    """Largest value."""
    log: bool = False
    """Whether to sample uniformly on a logarithmic scale; `low` must be above 0."""
    step: float | None = Field(None, gt=0)
    """Distance between values, counted from `low`, above 0. None: any value in the range."""

    @model_validator(mode="after")
    def _check(self) -> FloatDistribution:
        _check_bounds(self.low, self.high, self.log)
        if self.step is not None and self.step > self.high - self.low:
            got = f"step={self.step:g}, low={self.low:g}, high={self.high:g}"
            raise rule_error("`step <= high - low`", got, remedy="make the step smaller")
        if self.log and self.step is not None:
            raise rule_error("not both `log` and `step`", f"log=true, step={self.step}", remedy="omit one")
        return self

    def ends(self) -> dict[str, Leaf]:
        """Returns the values that must be valid in the configuration, by the key that gives them."""
        return {"low": self.low, "high": self.high}

    def contains(self, value: object) -> bool:
        """Returns whether the distribution contains this value."""
        if not isinstance(value, float | int) or isinstance(value, bool) or not self.low <= value <= self.high:
            return False
        return self.step is None or math.isclose((value - self.low) / self.step, round((value - self.low) / self.step))


class IntDistribution(Frozen):
    """A uniform distribution of whole numbers from `low` to `high`, both included."""

    type: Literal["int"]
    """The kind of distribution: `float`, `int` or `categorical`."""
    low: int
    """Smallest value."""
    high: int
    """Largest value."""
    log: bool = False
    """Whether to sample uniformly on a logarithmic scale; `low` must be above 0."""
    step: int = Field(1, ge=1)
    """Distance between values, counted from `low`, from 1."""

    @model_validator(mode="after")
    def _check(self) -> IntDistribution:
        _check_bounds(self.low, self.high, self.log)
        if self.log and self.step != 1:
            raise rule_error("not both `log` and `step`", f"log=true, step={self.step}", remedy="omit one")
        return self

    def ends(self) -> dict[str, Leaf]:
        """Returns the values that must be valid in the configuration, by the key that gives them."""
        return {"low": self.low, "high": self.high}

    def contains(self, value: object) -> bool:
        """Returns whether the distribution contains this value."""
        if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= self.high:
            return False
        return (value - self.low) % self.step == 0


class CategoricalDistribution(Frozen):
    """A uniform distribution over a list of values."""

    type: Literal["categorical"]
    """The kind of distribution: `float`, `int` or `categorical`."""
    choices: tuple[bool | int | float | str, ...] = Field(min_length=1)
    """The values to choose from, at least one, each given once."""

    @model_validator(mode="after")
    def _check(self) -> CategoricalDistribution:
        if len(set(map(repr, self.choices))) != len(self.choices):
            raise rule_error("each choice once", f"choices={list(self.choices)}", path="choices")
        return self

    def ends(self) -> dict[str, Leaf]:
        """Returns the values that must be valid in the configuration, by the key that gives them."""
        return {f"choices[{i}]": choice for i, choice in enumerate(self.choices)}

    def contains(self, value: object) -> bool:
        """Returns whether the distribution contains this value."""
        return any(
            value == choice and (type(value) is type(choice) or (type(value), type(choice)) == (int, float))
            for choice in self.choices
        )


Distribution = Annotated[FloatDistribution | IntDistribution | CategoricalDistribution, Field(discriminator="type")]


def _check_bounds(low: float, high: float, log: bool) -> None:
    if not low < high:
        raise rule_error("`low < high`", f"low={low:g}, high={high:g}", remedy="swap or widen them")
    if log and not low > 0:
        raise rule_error("`low > 0` for a log scale", f"low={low:g}, log=true", remedy="raise low or omit log")
