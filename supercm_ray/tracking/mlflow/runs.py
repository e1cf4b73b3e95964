"""Finds, creates and writes runs of one MLflow experiment, within MLflow's limits per call."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, Run, RunStatus, RunTag

from supercm_ray.records import Status, now_ms
from supercm_ray.tracking.mlflow.describing import spelled

_STATUS: Mapping[Status, int] = {
    "running": RunStatus.RUNNING,
    "complete": RunStatus.FINISHED,
    "pruned": RunStatus.KILLED,
    "interrupted": RunStatus.KILLED,
    "failed": RunStatus.FAILED,
}
_METRICS_PER_CALL = 1000
_PARAMS_PER_CALL = 100
_RUNS_PER_PAGE = 1000


class MlflowRuns:
    """The runs of one experiment."""

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        """Stores the arguments.

        Args:
            client: a connected client.
            experiment_id: the experiment.
        """
        self.client, self.experiment_id = client, experiment_id

    def search(self, condition: str) -> list[Run]:
        """Returns all runs that satisfy a filter."""
        token: str | None = None
        found: list[Run] = []
        while token is None or token:
            page = self.client.search_runs(
                [self.experiment_id], condition, max_results=_RUNS_PER_PAGE, page_token=token
            )
            found += page
            token = page.token or ""
        return found

    def create(self, name: str, tags: Mapping[str, str], started_ms: int | None = None) -> str:
        """Creates an open run and returns its id."""
        started_ms = started_ms or now_ms()
        run = self.client.create_run(self.experiment_id, start_time=started_ms, tags=dict(tags), run_name=name)
        return str(run.info.run_id)

    def tags(self, run_id: str) -> dict[str, str]:
        """Returns the tags of a run."""
        return dict(self.client.get_run(run_id).data.tags)

    def set_tags(self, run_id: str, tags: Mapping[str, str]) -> None:
        """Sets tags of a run."""
        self.client.log_batch(run_id, tags=[RunTag(name, value) for name, value in tags.items()])

    def set_status(self, run_id: str, status: Status, ended_ms: int | None = None) -> None:
        """Sets the status of a run, which opens or ends it."""
        name = RunStatus.to_string(_STATUS[status])
        if status == "running":
            self.client.update_run(run_id, status=name)
        else:
            self.client.set_terminated(run_id, status=name, end_time=ended_ms)

    def log_params(self, run_id: str, params: Mapping[str, object]) -> None:
        """Logs parameters, which MLflow stores as text."""
        entities = [Param(name, spelled(value)) for name, value in params.items()]
        for start in range(0, len(entities), _PARAMS_PER_CALL):
            self.client.log_batch(run_id, params=entities[start : start + _PARAMS_PER_CALL])

    def log_metrics(self, run_id: str, metrics: Mapping[str, float], timestamp_ms: int, step: int = 0) -> None:
        """Logs metrics of the whole run, those that are finite."""
        entities = [Metric(name, value, timestamp_ms, step) for name, value in metrics.items() if math.isfinite(value)]
        if entities:
            self.client.log_batch(run_id, metrics=entities)

    def curve(self, run_id: str, name: str) -> dict[int, float]:
        """Returns the last value of a metric at each step."""
        return {one.step: one.value for one in self.client.get_metric_history(run_id, name)}

    def log_epochs(
        self, run_id: str, history: Sequence[Mapping[str, float]], written: Callable[[int], None], *, first: str
    ) -> None:
        """Logs epochs, whole ones in each call, so that all epochs up to MLflow's last value of `epoch` are
        complete.

        Args:
            run_id: the run.
            history: metrics of each epoch in order, with the keys `epoch` and `timestamp_ms`.
            written: called with the last epoch of each call that succeeded.
            first: the metric to store first, and `epoch` last: MLflow's plots begin with what was stored first.
        """
        step = max(1, _METRICS_PER_CALL // max(len(metrics) for metrics in history))
        for start in range(0, len(history), step):
            epochs = history[start : start + step]
            entities = [
                Metric(name, value, int(metrics["timestamp_ms"]), int(metrics["epoch"]))
                for metrics in epochs
                for name, value in sorted(metrics.items(), key=lambda one: (one[0] == "epoch", one[0] != first))
                if name != "timestamp_ms"
            ]
            self.client.log_batch(run_id, metrics=entities)
            written(int(epochs[-1]["epoch"]))
