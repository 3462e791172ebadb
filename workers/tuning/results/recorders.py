"""Recorders of a run's curves: TensorBoard files, and Weights & Biases and MLflow if they are configured.

A failing recorder does not stop the run. It is removed, and a warning is logged.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from service.store.locked_folders import scratch_folder

EVENTS_NAME = "events.out.tfevents.0"
"""Fixed, because the default name of tensorboardX contains the time and the host name."""

PROJECT = "promptatlas"

STEP = "step"
"""Name of the step of training in Weights & Biases, which has no other metric of this name: those of members have a slash."""


class Recorder(Protocol):
    """Receives the points of curves in order of step. A run that resumes from a checkpoint may repeat points."""

    def record(self, step: int, *, member: str, values: Mapping[str, float], time_s: float) -> None:
        """Record the values of one member after ``step`` updates. time_s: seconds since the epoch."""

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Record the final metrics and close."""


@dataclass(frozen=True, kw_only=True)
class RunIdentity:
    """Identity of a run for recorders. id: the same for all attempts. config: the spec."""

    id: str
    name: str
    config: Mapping[str, Any]


class TensorBoard:
    """Writes one event file per member, so that TensorBoard shows members as runs that can be compared.

    Args:
        keep: called with the path and content of each file when the run finishes.
    """

    def __init__(self, *, keep: Callable[[str, bytes], None]) -> None:
        self._keep = keep
        self._folder = scratch_folder()
        self._writers: dict[str, Any] = {}

    def record(self, step: int, *, member: str, values: Mapping[str, float], time_s: float) -> None:
        writer = self._writer(member)
        for name, value in values.items():
            writer.add_scalar(name, value, global_step=step, walltime=time_s)

    def finish(self, metrics: Mapping[str, float]) -> None:
        """Pass each file to ``keep`` as ``tensorboard/{member}/…``. The final metrics are not written."""
        for member, writer in self._writers.items():
            writer.close()
            (file,) = (self._folder.path / member).iterdir()
            self._keep(f"tensorboard/{member}/{EVENTS_NAME}", file.read_bytes())
        self.close()

    def close(self) -> None:
        """Close the writers and delete their temporary files."""
        for writer in self._writers.values():
            writer.close()
        self._writers = {}
        self._folder.close()

    def _writer(self, member: str) -> Any:
        if member not in self._writers:
            from tensorboardX import SummaryWriter  # imported late: loading is slow

            self._writers[member] = SummaryWriter(str(self._folder.path / member))
        return self._writers[member]


class WeightsAndBiases:
    """Records to a Weights & Biases run with the same id as this run, so that a later attempt resumes it."""

    def __init__(self, identity: RunIdentity, *, project: str, wandb: Any) -> None:
        self._run = wandb.init(
            project=project, id=identity.id, name=identity.name, resume="allow", config=dict(identity.config)
        )
        # A step that is less than the last one would be dropped, and parts of a run begin at step 0 one after the other.
        self._run.define_metric("*", step_metric=STEP)

    def record(self, step: int, *, member: str, values: Mapping[str, float], time_s: float) -> None:
        self._run.log({f"{member}/{name}": value for name, value in values.items()} | {STEP: step})

    def finish(self, metrics: Mapping[str, float]) -> None:
        self._run.summary.update(dict(metrics))
        self._run.finish()


class MLflow:
    """Records to an MLflow run. The id of this run is a tag, by which a later attempt finds it."""

    TAG = "promptatlas.run_id"

    def __init__(self, identity: RunIdentity, *, experiment: str, client: Any) -> None:
        self._client = client
        known = client.get_experiment_by_name(experiment)
        experiment_id = known.experiment_id if known is not None else client.create_experiment(experiment)
        found = client.search_runs([experiment_id], filter_string=f"tags.`{self.TAG}` = '{identity.id}'")
        if found:
            self._run_id = found[0].info.run_id
        else:
            created = client.create_run(experiment_id, tags={self.TAG: identity.id}, run_name=identity.name)
            self._run_id = created.info.run_id

    def record(self, step: int, *, member: str, values: Mapping[str, float], time_s: float) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run_id, f"{member}/{name}", value, timestamp=int(time_s * 1000), step=step)

    def finish(self, metrics: Mapping[str, float]) -> None:
        for name, value in metrics.items():
            self._client.log_metric(self._run_id, name, value)
        self._client.set_terminated(self._run_id)


class Recorders:
    """Forwards to all recorders of a run.

    Args:
        warn: called with a message when a recorder fails.
    """

    def __init__(self, recorders: Mapping[str, Recorder], *, warn: Callable[[str], None]) -> None:
        self._recorders = dict(recorders)
        self._warn = warn

    def record(self, step: int, *, member: str, values: Mapping[str, float], time_s: float) -> None:
        self._each(lambda recorder: recorder.record(step, member=member, values=values, time_s=time_s))

    def finish(self, metrics: Mapping[str, float]) -> None:
        self._each(lambda recorder: recorder.finish(metrics))

    def _each(self, action: Callable[[Recorder], None]) -> None:
        for name in list(self._recorders):
            self._call_safely(name, action)

    def _call_safely(self, name: str, action: Callable[[Recorder], None]) -> None:
        try:
            action(self._recorders[name])
        except Exception as error:  # errors of a recorder must not stop the run
            del self._recorders[name]
            self._warn(f"{name} no longer records this run: {type(error).__name__}: {error}")


def outside_recorders(
    identity: RunIdentity, *, environ: Mapping[str, str], warn: Callable[[str], None]
) -> dict[str, Recorder]:
    """Recorders of the services that ``environ`` configures and whose packages are installed, by name.

    ``WANDB_API_KEY`` (and ``WANDB_PROJECT``) is for Weights & Biases, ``MLFLOW_TRACKING_URI`` (and
    ``MLFLOW_EXPERIMENT_NAME``) for MLflow.
    """
    makers: dict[str, tuple[str, str, Callable[[Any], Recorder]]] = {
        "Weights & Biases": ("WANDB_API_KEY", "wandb", lambda wandb: _wandb(identity, wandb, environ)),
        "MLflow": ("MLFLOW_TRACKING_URI", "mlflow", lambda mlflow: _mlflow(identity, mlflow, environ)),
    }
    found: dict[str, Recorder] = {}
    for name, (variable, package, make) in makers.items():
        if environ.get(variable):
            found |= _created(name, package, make, because=variable, warn=warn)
    return found


def _created(
    name: str, package: str, make: Callable[[Any], Recorder], *, because: str, warn: Callable[[str], None]
) -> dict[str, Recorder]:
    try:
        return {name: make(importlib.import_module(package))}
    except Exception as error:  # not installed, no network, invalid key: must not stop the run
        warn(f"{name} is configured by {because}, but does not record this run: {type(error).__name__}: {error}")
        return {}


def _wandb(identity: RunIdentity, wandb: Any, environ: Mapping[str, str]) -> Recorder:
    return WeightsAndBiases(identity, project=environ.get("WANDB_PROJECT", PROJECT), wandb=wandb)


def _mlflow(identity: RunIdentity, mlflow: Any, environ: Mapping[str, str]) -> Recorder:
    client = mlflow.MlflowClient(tracking_uri=environ["MLFLOW_TRACKING_URI"])
    return MLflow(identity, experiment=environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT), client=client)
