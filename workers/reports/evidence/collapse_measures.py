"""Collapse measures of tuned vectors: distances to tokens, to the model's cloud and to their draw."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from service.measures.displacement import displacement, path_shape
from service.measures.spread import effective_rank, mean_pairwise_distance, norm_ratio, participation_ratio
from workers.analysis.mahalanobis import Cloud, fit_cloud
from workers.analysis.neighbours import nearest_tokens, share_within_radius, token_names
from workers.reports.evidence.evidence import Evidence, TunedPrompt

N_NEAREST = 3
SAME = 1e-4
"""Relative distance below which two points are equal; recomputed states differ by rounding."""


class CollapseMeasures:
    """Measures prompts against the model's cloud; the cloud of each layer is fitted once."""

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._clouds: dict[int, Cloud | None] = {}

    def of(self, prompt: TunedPrompt) -> dict[str, Any]:
        """All measures of one prompt, each a mean over its vectors and layers; see ``docs/measures.md``."""
        layers = [self._at(prompt, layer) for layer in prompt.vectors]
        names = dict.fromkeys(name for found in layers for name in found if name != "nearest_tokens")
        measures: dict[str, Any] = {
            name: float(np.mean([found[name] for found in layers if name in found])) for name in names
        }
        token_lists = [found["nearest_tokens"] for found in layers if "nearest_tokens" in found]
        return {
            **measures,
            "layers": list(prompt.vectors),
            **({"nearest_tokens": token_lists[0]} if token_lists else {}),
        }

    def nearer_to_draw(self, prompt: TunedPrompt) -> list[bool]:
        """For each vector with a draw: whether it is nearer to its draw than to any point of the model's cloud.

        If the draw is itself a point of the cloud, e.g. a token, that point is excluded.
        """
        found: list[bool] = []
        for layer, vectors in prompt.vectors.items():
            if layer in prompt.draw:
                draw, points = prompt.draw[layer], self._evidence.cloud_points(layer)
                scale = float(np.linalg.norm(draw, axis=1).max()) + 1e-12
                distances = cdist(vectors, points)
                distances[cdist(draw, points) <= SAME * scale] = np.inf
                found += (displacement(draw, vectors).distance < distances.min(1)).tolist()
        return found

    def _at(self, prompt: TunedPrompt, layer: int) -> dict[str, Any]:
        vectors, points = prompt.vectors[layer], self._evidence.cloud_points(layer)
        cosine = nearest_tokens(vectors, points, metric="cosine").distances[:, 0]
        nearest = nearest_tokens(vectors, points, k=N_NEAREST)
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
            found["nearest_tokens"] = token_names(nearest, tokens=self._evidence.tokens)
        return found | self._history_measures(prompt, layer, cloud)

    def _history_measures(self, prompt: TunedPrompt, layer: int, cloud: Cloud | None) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if layer in prompt.draw:
            draw = prompt.draw[layer]
            moved = displacement(draw, prompt.vectors[layer])
            points = self._evidence.cloud_points(layer)
            found["displacement"] = float(moved.distance.mean())
            found["displacement_cosine"] = float(moved.cosine.mean())
            found["draw_nearest_distance"] = float(nearest_tokens(draw, points).distances[:, 0].mean())
            if cloud is not None:
                found["draw_mahalanobis"] = float(cloud.distances(draw).mean())
        if layer in prompt.snapshots and len(prompt.snapshots[layer]) > 1:
            path = path_shape(prompt.snapshots[layer])
            found |= {"way_length": float(path.length.mean()), "straightness": float(path.straightness.mean())}
        return found

    def _cloud(self, layer: int) -> Cloud | None:
        if layer not in self._clouds:
            try:
                self._clouds[layer] = fit_cloud(self._evidence.cloud_points(layer))
            except ValueError:
                # States without variance in some direction have no Mahalanobis distance.
                self._clouds[layer] = None
        return self._clouds[layer]


def measure_collapse(evidence: Evidence, *, check: Callable[[], None]) -> dict[str, dict[str, Any]]:
    """All collapse measures by prompt; prefix prompts have no vectors and are left out."""
    measures = CollapseMeasures(evidence)
    found = {}
    for prompt in evidence.prompts:
        check()
        if prompt.vectors:
            facts = {"prior": prompt.prior, "seed": prompt.seed, "lr": prompt.lr, "group": prompt.group}
            found[prompt.ref] = {**facts, **measures.of(prompt), **prompt.log_density}
    return found


def measure_draws(evidence: Evidence) -> dict[str, dict[str, Any]]:
    """Collapse measures of untuned draws at the embeddings, by prior."""
    measures = CollapseMeasures(evidence)
    return {
        label: measures.of(
            TunedPrompt(
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
