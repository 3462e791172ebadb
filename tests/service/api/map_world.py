"""An application over a real engine on a small model, with maps that were made by the real work."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from service.engine.engine import Engine
from service.engine.prompts.prompt import Prompt, from_tensors
from service.engine.requests import Done, Failed, Limits
from service.errors import AtlasError
from service.hosting.engine_process.request_tensors import attach_values
from service.hosting.ipc.messages import EngineState, EstimateCost, Finished, Submit, Update
from service.planning.context import PlanningContext
from service.planning.run_kinds import plan
from service.store.prompts.store import PromptStore
from service.store.runs.store import RunStore
from tests.service.api.conftest import OpenWorld, World, tensors
from tests.workers.evaluation.fake_run import FakeRun
from tests.workers.maps.small_map import make_run
from tests.workers.tuning.small_run import small_model
from workers.maps.run import make_map


def open_small_world(open_world: OpenWorld, home: Path) -> tuple[World, FakeRun]:
    """The application, and a run as a worker has it on the same store, with the dataset ``words`` in it."""
    run = make_run(home / "store")
    world = open_world(ready=False, script=_engine_script(run.prompts))
    card = {**asdict(small_model().card), "name": "small"}
    world.engine.on_message(EngineState(generation=1, pid=7, models={"small": card}, stats={"small": {}}))
    return world, run


def put_map(world: World, run: FakeRun, **spec: Any) -> str:
    """Plan a map, make it, and store what was left; the id of the map."""
    context = PlanningContext(models=world.engine.last_state().models, prompts=run.prompts, datasets=run.datasets)
    planned = plan("map", {"model": "small", **spec}, context=context)
    runs = RunStore(run.artifacts)
    record = runs.create("map", spec=planned.spec, name="a map")
    writer = runs.claim(record.id, worker="w")
    run.spec, run.outputs, run.checkpoint = planned.spec, {}, None
    metrics = make_map(run)
    for path, data in run.outputs.items():
        writer.put_output(path, data)
    writer.finish("succeeded", metrics=metrics)
    return record.id


def _engine_script(prompts: PromptStore) -> Callable[[Submit | EstimateCost], Sequence[Update]]:
    def load(sha256: str) -> Prompt:
        stored = prompts.load(prompts.resolve(sha256))
        arrays = {name: torch.from_numpy(np.array(values)) for name, values in stored.tensors.items()}
        return from_tensors(arrays, where=stored.where)

    engine = Engine(small_model(), limits=Limits(), load_prompt=load)

    def answer(message: Submit | EstimateCost) -> Sequence[Update]:
        assert isinstance(message, Submit)
        try:
            engine.submit(attach_values(message))
        except AtlasError as error:
            return [Failed(request_id=message.request.request_id, error=error)]
        while True:
            for event in engine.step():
                if isinstance(event, Failed):
                    return [event]
                if isinstance(event, Done) and event.result is not None:
                    arrays = {name: values.numpy() for name, values in event.result.tensors.items()}
                    metadata = {**event.result.metadata, **message.metadata}
                    return [Finished(result=tensors(arrays, metadata))]

    return answer
