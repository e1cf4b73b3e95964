"""The built-in stopping rules by name, with their options. Ray is imported when a rule is created."""

from __future__ import annotations

from pydantic import Field

from supercm_ray.config import Frozen, OptionsModel, Study, rule_error
from supercm_ray.execution.stopping import SCHEDULERS, NoStopping, StoppingRule


class AshaOptions(OptionsModel):
    """Options of `asha`, asynchronous successive halving (Li et al. 2020, arXiv 1810.05934)."""

    grace_period: int = Field(1, ge=1)
    """Number of epochs that every trial is given, from 1 to `base.training.num_epochs`."""
    reduction_factor: int = Field(3, ge=2)
    """Factor, from 2, between rungs: 1 in this many trials continues at each rung."""

    def check(self, study: Frozen) -> None:
        """Checks that the grace period is no longer than a run."""
        assert isinstance(study, Study)
        num_epochs = study.base.training.num_epochs
        if self.grace_period > num_epochs:
            raise rule_error(
                "`grace_period <= base.training.num_epochs`",
                f"grace_period={self.grace_period}, num_epochs={num_epochs}",
                path="scheduler.options.grace_period",
            )


@SCHEDULERS.register("asha", options=AshaOptions)
def _asha(study: Study) -> StoppingRule:
    from supercm_ray.runtime.stopping_rules import AshaByGroup

    return AshaByGroup(study)


SCHEDULERS.add("none", NoStopping)
