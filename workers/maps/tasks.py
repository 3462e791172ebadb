"""Separation of the tasks of a layer's points, which selects the layer that a map shows first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from promptatlas.types.maps import DatasetSource, MapSpec

from service.store.maps.points import Points
from workers.analysis.separation import silhouette


def tasks_of(points: Points, *, spec: MapSpec, names: Sequence[str]) -> list[str | None]:
    """The task of each point: its ``task``, or its dataset if the record names none; None for points of other sources.

    names: of the sources of ``spec``.
    """
    datasets = {
        name: str(source.dataset)
        for name, source in zip(names, spec.sources, strict=True)
        if isinstance(source, DatasetSource)
    }
    pairs = zip(points.texts["source"].items(), points.texts["task"].items(), strict=True)
    return [None if source not in datasets else task or datasets[source] for source, task in pairs]


def task_silhouette(
    vectors: npt.NDArray[np.float32], tasks: Sequence[str | None], *, sample: int, seed: int
) -> float | None:
    """Mean silhouette of points `[n, d_model]` by task, on a seeded sample of the points that have one.

    Returns:
        −1 to 1; None if the sampled points have fewer than two tasks.
    """
    labelled = np.array([i for i, task in enumerate(tasks) if task is not None], dtype=np.int64)
    chosen = np.sort(np.random.default_rng(seed).permutation(labelled)[:sample])
    labels = [tasks[i] for i in chosen]
    if len(set(labels)) < 2 or len(set(labels)) == len(labels):
        return None
    return silhouette(vectors[chosen], labels, samples=1, seed=seed).value
