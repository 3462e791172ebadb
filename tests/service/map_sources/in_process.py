"""Sources read in process, as a worker reads them, into points in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from promptatlas.types.maps import MapSource

from service.map_sources.add_source import add_source
from service.map_sources.gathered_points import GatheredPoints
from service.map_sources.interface import SourceContext, run_to_end
from service.store.runs.store import RunStore
from tests.workers.evaluation.fake_run import FakeRun
from tests.workers.maps.small_map import D_MODEL
from tests.workers.tuning.small_run import small_model
from workers.maps.reader import InProcessMapReader
from workers.priors.sources.sources import Sources


def gathered(
    run: FakeRun, source: MapSource, *, layers: Sequence[int], name: str = "source", **context: Any
) -> GatheredPoints:
    """Points of one source at ``layers``."""
    model = small_model()
    points = GatheredPoints(layers, d_model=D_MODEL, memory_bytes=1 << 24)
    priors = Sources(model, datasets=run.datasets, prompts=run.prompts, check=run.check)
    given: dict[str, Any] = {
        "model": model.card.name,
        "revision": model.card.revision,
        "prompts": run.prompts,
        "runs": RunStore(run.artifacts),
        "datasets": run.datasets,
        "reader": InProcessMapReader(run, model, priors=priors),
        "points": points,
        **context,
    }
    run_to_end(add_source(source, name=name, to=SourceContext(**given)))
    return points
