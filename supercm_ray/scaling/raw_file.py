"""The file of raw figures while a study is measured: written whole after each measurement."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from supercm_ray.errors import StudyError
from supercm_ray.records import write_atomically
from supercm_ray.scaling.plan import ScalingPlan
from supercm_ray.scaling.raw import Host, Raw, Repetition, TargetRun, TuningRun, load_raw


class RawFile:
    """Raw figures on disk, to which measurements are added.

    Attributes:
        path: where they are.
        raw: what they are so far.
    """

    def __init__(self, path: Path, plan: ScalingPlan, header: dict[str, Any]) -> None:
        """Opens the file, or begins it.

        Args:
            path: of the file.
            plan: whose price, target and simulation stand in the file from now on.
            header: the rest of what Raw needs.

        Raises:
            StudyError: where the file is none of this layout, or has runs towards another target.
        """
        self.path = path
        former = load_raw(path) if path.exists() else None
        target = plan.target_accuracy
        if former and former.targets and target not in (None, former.target_accuracy):
            raise StudyError(
                f"all runs of a study go towards one target, got {target} where {path} has runs towards "
                f"{former.target_accuracy}; ask for that one, or move the folder away"
            )
        wanted = {"price": plan.price, "target_accuracy": target, "simulation": plan.simulation}
        given: dict[str, Any] = {name: value for name, value in wanted.items() if value is not None}
        given |= {"efficiency_floor": plan.efficiency_floor, "placement": plan.placement}
        self._fresh = Raw(mode=plan.mode, warmup_steps=plan.warmup_steps, hosts=(), **{**header, **given})
        now = {**given, "skipped": {}, "command": self._fresh.command, "objective": self._fresh.objective}
        if former and not (former.repetitions or former.targets or former.tuning):
            now |= {"commit": self._fresh.commit, "versions": self._fresh.versions}
        self.raw = former.model_copy(update=now) if former else self._fresh
        self._write()

    def add(
        self,
        measured: Repetition | TargetRun | TuningRun,
        hosts: Iterable[Host] = (),
    ) -> None:
        """Adds a measurement, machines that are new or changed, and what else it was measured with than the former."""
        place = {Repetition: "repetitions", TargetRun: "targets", TuningRun: "tuning"}[type(measured)]
        self._replace(
            {
                place: (*getattr(self.raw, place), measured),
                "hosts": tuple(dict.fromkeys([*self.raw.hosts, *hosts])),
                "commit": _joined(self.raw.commit, self._fresh.commit, ", "),
                "versions": self.raw.versions
                | {
                    name: _joined(self.raw.versions.get(name, version), version, " and ")
                    for name, version in self._fresh.versions.items()
                },
            }
        )

    def skip(self, what: str, why: str) -> None:
        """Notes what is not measured."""
        self._replace({"skipped": {**self.raw.skipped, what: why}})

    def _replace(self, values: dict[str, Any]) -> None:
        self.raw = self.raw.model_copy(update=values)
        self._write()

    def _write(self) -> None:
        write_atomically(self.path, self.raw.model_dump_json(indent=1))


def _joined(former: str, now: str, between: str) -> str:
    """Both, or the one that both are."""
    if former == now:
        return now
    parts = (former or "unknown").split(between)
    return between.join(dict.fromkeys([*parts, now or "unknown"]))
