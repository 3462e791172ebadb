"""Where tuned vectors lie: beside their draw, on tokens, or out in the open. What findings 1 and 3 are read from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from service.measures.displacement import displacement, way
from service.measures.spread import effective_rank, mean_pairwise_distance, norm_ratio, participation_ratio
from workers.analysis.mahalanobis import Cloud, cloud_of
from workers.analysis.neighbours import nearest_tokens, share_within_radius
from workers.reports.evidence.evidence import Evidence, Tuned

N_READABLE = 3
SAME = 1e-4
"""Points that differ by this share of their length are one: states are read anew, and differ by rounding."""


class CollapseMeasures:
    """Measures prompts one after another, against clouds that are fitted once a layer."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._clouds: dict[int, Cloud | None] = {}

    def of(self, prompt: Tuned) -> dict[str, Any]:
        """All measures of one prompt, each a mean over its vectors, layers together; see ``docs/measures.md``."""
        layers = [self._at(prompt, layer) for layer in prompt.vectors]
        names = dict.fromkeys(name for found in layers for name in found if name != "readable")
        measures: dict[str, Any] = {
            name: float(np.mean([found[name] for found in layers if name in found])) for name in names
        }
        readable = [found["readable"] for found in layers if "readable" in found]
        return {**measures, "layers": list(prompt.vectors), **({"nearest_tokens": readable[0]} if readable else {})}

    def stays(self, prompt: Tuned) -> list[bool]:
        """Of each vector with a draw: whether it is nearer to that than to any point of the model's own cloud.

        Where the draw is itself such a point (a token), that one does not count as the cloud's.
        """
        found: list[bool] = []
        for layer, vectors in prompt.vectors.items():
            if layer in prompt.draw:
                draw, points = prompt.draw[layer], self._evidence.surroundings(layer)
                scale = float(np.linalg.norm(draw, axis=1).max()) + 1e-12
                away = cdist(vectors, points)
                away[cdist(draw, points) <= SAME * scale] = np.inf
                found += (displacement(draw, vectors).distance < away.min(1)).tolist()
        return found

    def _at(self, prompt: Tuned, layer: int) -> dict[str, Any]:
        vectors, points = prompt.vectors[layer], self._evidence.surroundings(layer)
        cosine = nearest_tokens(vectors, points, metric="cosine").distances[:, 0]
        nearest = nearest_tokens(vectors, points, k=N_READABLE)
        found: dict[str, Any] = {
            "nearest_distance": float(nearest.distances[:, 0].mean()),
            "nearest_cosine": float((1 - cosine).mean()),
            "share_within_radius": share_within_radius(vectors, points),
            "norm_ratio": norm_ratio(vectors, points),
            "effective_rank": effective_rank(vectors),
            "participation_ratio": participation_ratio(vectors) if len(vectors) > 1 else 1.0,
        }
        if len(vectors) > 1:
            found["mean_pairwise_distance"] = mean_pairwise_distance(vectors)
        cloud = self._cloud(layer)
        if cloud is not None:
            found["mahalanobis"] = float(cloud.distances(vectors).mean())
        if layer == 0:
            found["readable"] = [[self._evidence.tokens[i] for i in row] for row in nearest.indices.tolist()]
        return found | self._past(prompt, layer, cloud)

    def _past(self, prompt: Tuned, layer: int, cloud: Cloud | None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if layer in prompt.draw:
            draw = prompt.draw[layer]
            moved = displacement(draw, prompt.vectors[layer])
            points = self._evidence.surroundings(layer)
            found["displacement"] = float(moved.distance.mean())
            found["displacement_cosine"] = float(moved.cosine.mean())
            found["draw_nearest_distance"] = float(nearest_tokens(draw, points).distances[:, 0].mean())
            if cloud is not None:
                found["draw_mahalanobis"] = float(cloud.distances(draw).mean())
        if layer in prompt.snapshots and len(prompt.snapshots[layer]) > 1:
            walked = way(prompt.snapshots[layer])
            found |= {"way_length": float(walked.length.mean()), "straightness": float(walked.straightness.mean())}
        return found

    def _cloud(self, layer: int) -> Cloud | None:
        if layer not in self._clouds:
            try:
                self._clouds[layer] = cloud_of(self._evidence.surroundings(layer))
            except ValueError:
                # States that leave a direction empty have no Mahalanobis distance.
                self._clouds[layer] = None
        return self._clouds[layer]


def measure_collapse(evidence: Evidence, *, check: Callable[[], None]) -> dict[str, dict[str, Any]]:
    """By prompt, all collapse measures; prefixes have no vectors and are left out."""
    measures = CollapseMeasures(evidence)
    found = {}
    for prompt in evidence.prompts:
        check()
        if prompt.vectors:
            facts = {"prior": prompt.prior, "seed": prompt.seed, "lr": prompt.lr, "group": prompt.group}
            found[prompt.ref] = {**facts, **measures.of(prompt), **prompt.log_density}
    return found


def measure_draws(evidence: Evidence) -> dict[str, dict[str, Any]]:
    """By prior, where its draws lie at the embeddings before anything is tuned."""
    measures = CollapseMeasures(evidence)
    return {
        label: measures.of(
            Tuned(
                ref=label,
                run_id=None,
                method="draw",
                prior=label,
                seed=None,
                lr=None,
                task="",
                metrics={},
                vectors={0: vectors},
            )
        )
        for label, vectors in evidence.draws.items()
    }
