"""Help with the parts of a run of another worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from service.engine.model.hosted_model import HostedModel
from workers.running.interface import RunContext, RunStopped, WorkContext
from workers.running.shards.sharing import free_shards, help_with_shards
from workers.tuning.context import TuningContext
from workers.tuning.initialization import Initialization
from workers.tuning.parts.plan import PlanFile
from workers.tuning.parts.store import PartStore
from workers.tuning.parts.training import PartWriter


def help_train(place: WorkContext, *, open_context: Callable[[RunContext], TuningContext]) -> None:
    """Train free parts, until none are left or a run waits for a worker; returns at once if the run is not divided.

    Raises:
        Conflict: model, dataset or device differ from those of the run.
        NotFound, InvalidRequest, DamagedArtifact, UnsupportedModel: this worker cannot read the model or the data.
    """
    plan = PlanFile(place.artifacts, run_id=place.run_id).load()
    if plan is None:
        return
    store = PartStore(place.artifacts, run_id=place.run_id)
    missing = free_shards(place, numbers=range(plan.n_parts), store=store)
    start = store.load_start() if missing else None
    if start is None:
        return
    context = open_context(_ReadOnlyRun(place))
    plan.require_same(context.model)
    initialization = Initialization.load(start)
    initialization.require_same(dataset_sha256=context.data_sha256, base_revision=context.model.card.revision)

    def leave_if_needed() -> None:
        # A part may take hours, so a helper also leaves within it. The part goes on from the checkpoint.
        if place.coordinator.runs_are_waiting():
            raise RunStopped

    writer = PartWriter(
        place,
        context=context,
        initialization=initialization,
        plan=plan,
        store=store,
        on_step=lambda number, report: place.check(),
        on_save=leave_if_needed,
    )
    help_with_shards(place, missing=missing, write=writer.write)


class _ReadOnlyRun:
    """The run as its helper sees it; a RunContext. Only the worker that has the run reports and stores anything for it."""

    attempt = 0
    name: str | None = None

    def __init__(self, place: WorkContext) -> None:
        self.run_id = place.run_id
        self.spec = place.spec
        self.settings = place.settings
        self.artifacts = place.artifacts
        self.prompts = place.prompts
        self.datasets = place.datasets
        self._place = place

    def load_model(self, name: str) -> HostedModel:
        return self._place.load_model(name)

    def count(self, name: str, amount: float = 1) -> None:
        self._place.count(name, amount)

    def check(self) -> None:
        self._place.check()

    def progress(self, step: int, total: int) -> None:
        pass

    def metric(self, step: int, *, member: str | None = None, **values: float) -> None:
        pass

    def log(self, text: str, *, level: str = "info") -> None:
        pass

    def made_prompt(self, ref: str) -> None:
        raise NotImplementedError

    def save_checkpoint(self, files: Mapping[str, bytes]) -> None:
        raise NotImplementedError

    def load_checkpoint(self) -> Mapping[str, bytes] | None:
        raise NotImplementedError

    def save_output(self, path: str, data: bytes) -> None:
        raise NotImplementedError

    def read_output(self, path: str) -> bytes | None:
        raise NotImplementedError
