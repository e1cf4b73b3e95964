"""The file of measurements while a study is measured, replaced atomically after each measurement."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from supercm_ray.config import ScalingConfig
from supercm_ray.errors import StudyError
from supercm_ray.records import Node, write_atomically
from supercm_ray.scaling.measured_runs import Measurement, TargetRun
from supercm_ray.scaling.measurements import Measurements, Provenance, load_measurements
from supercm_ray.scaling.repetition import Repetition


class MeasurementsFile:
    """A file of measurements to which others are added.

    Attributes:
        path: path of the file.
        content: all measurements so far.
    """

    def __init__(self, path: Path, scaling: ScalingConfig, provenance: Provenance) -> None:
        """Opens the file, or creates it.

        Args:
            path: path of the file.
            scaling: the section whose price, target and simulation the file has from now on.
            provenance: study and software of the measurements to come.

        Raises:
            StudyError: if the file is of another version, or has runs to another target.
        """
        self.path, self._provenance = path, provenance
        if path.exists():
            self.content = _continued(load_measurements(path), scaling, provenance, path)
        else:
            self.content = _fresh(scaling, provenance)
        self._write()

    def add(self, measured: Measurement, nodes: Iterable[Node] = ()) -> None:
        """Adds a measurement, nodes that are new or changed, and the commit and versions of the software."""
        former, now = self.content, self._provenance
        changed = {name: _joined(former.versions.get(name, it), it, " and ") for name, it in now.versions.items()}
        self._replace(
            **_appended(former, measured),
            nodes=tuple(dict.fromkeys([*former.nodes, *nodes])),
            commit=_joined(former.commit, now.commit, ", "),
            versions=former.versions | changed,
        )

    def skip(self, what: str, why: str) -> None:
        """Notes what is not measured, and why."""
        self._replace(skipped={**self.content.skipped, what: why})

    def _replace(self, **values: object) -> None:
        self.content = self.content.model_copy(update=values)
        self._write()

    def _write(self) -> None:
        write_atomically(self.path, self.content.model_dump_json(indent=1))


def _fresh(scaling: ScalingConfig, provenance: Provenance) -> Measurements:
    return Measurements(
        study=provenance.study,
        objective=provenance.objective,
        job_samples=provenance.job_samples,
        command=provenance.command,
        commit=provenance.commit,
        versions=provenance.versions,
        mode=scaling.mode,
        nodes=(),
        warmup_steps=scaling.warmup_steps,
        price_per_gpu_hour=scaling.price_per_gpu_hour,
        efficiency_floor=scaling.efficiency_floor,
        placement=scaling.placement,
        target_accuracy=scaling.target_accuracy,
        simulation=scaling.simulation,
    )


def _continued(former: Measurements, scaling: ScalingConfig, provenance: Provenance, path: Path) -> Measurements:
    """Returns earlier measurements with the section that is asked for now."""
    target = scaling.target_accuracy
    if former.targets and target not in (None, former.target_accuracy):
        raise StudyError(
            f"all runs of a study must go towards one target, got scaling.target_accuracy={target} where {path} has "
            f"runs towards {former.target_accuracy}; ask for that one, or move the folder away"
        )
    now: dict[str, object] = {
        "price_per_gpu_hour": scaling.price_per_gpu_hour or former.price_per_gpu_hour,
        "target_accuracy": target or former.target_accuracy,
        "simulation": scaling.simulation or former.simulation,
        "efficiency_floor": scaling.efficiency_floor,
        "placement": scaling.placement,
        "skipped": {},
        "command": provenance.command,
        "objective": provenance.objective,
    }
    if not (former.repetitions or former.targets or former.tuning):
        now |= {"commit": provenance.commit, "versions": provenance.versions}
    return former.model_copy(update=now)


def _appended(former: Measurements, measured: Measurement) -> dict[str, object]:
    """Returns the list of the measurement's kind with the measurement appended."""
    if isinstance(measured, Repetition):
        return {"repetitions": (*former.repetitions, measured)}
    if isinstance(measured, TargetRun):
        return {"targets": (*former.targets, measured)}
    return {"tuning": (*former.tuning, measured)}


def _joined(former: str, now: str, separator: str) -> str:
    """Joins both values, or returns one if they are equal."""
    if former == now:
        return now
    parts = (former or "unknown").split(separator)
    return separator.join(dict.fromkeys([*parts, now or "unknown"]))
