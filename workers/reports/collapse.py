"""Where tuned vectors lie: beside their draw, on tokens, or out in the open. Findings 1 and 3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from service.measures.displacement import displacement, way
from service.measures.spread import effective_rank, mean_pairwise_distance, norm_ratio, participation_ratio
from workers.analysis.mahalanobis import Cloud, cloud_of
from workers.analysis.neighbours import nearest_tokens, share_within_radius
from workers.reports.answer import Answer, not_measured, verdict_of
from workers.reports.evidence import Evidence, Floats, Tuned
from workers.reports.numbers import Budget, by_label, differs_by_label, summary

N_READABLE = 3

STAY_RULE = (
    "Confirmed when (a) in more than half of all tuned vectors (low end of the interval) the nearest of all "
    "prompts' draws at that layer is the vector's own, and (b) vectors moved less from their draw than they lie "
    "away from the nearest point of the model's own cloud (high end of the interval of the ratio below 1). "
    "Contradicted when neither holds."
)
COLLAPSE_RULE = (
    "Confirmed when at least one tuned prompt has a share within radius below 0.5: its vectors have not fallen "
    "onto tokens, so collapse is not inevitable. Contradicted when every prompt's share is 0.5 or more. Whether "
    "the prior matters is told by the Kruskal-Wallis test over priors."
)


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

    def ratios(self, prompt: Tuned) -> list[float]:
        """Of each vector: distance moved from its draw over the distance to the nearest point of the cloud."""
        found: list[float] = []
        for layer, vectors in prompt.vectors.items():
            if layer in prompt.draw:
                moved = displacement(prompt.draw[layer], vectors).distance
                away = nearest_tokens(vectors, self._evidence.surroundings(layer)).distances[:, 0]
                found += (moved / np.maximum(away, 1e-12)).tolist()
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


def measure_collapse(evidence: Evidence) -> dict[str, dict[str, Any]]:
    """By prompt, all collapse measures; prefixes have no vectors and are left out."""
    measures = CollapseMeasures(evidence)
    found = {}
    for prompt in evidence.prompts:
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
                ref=label, run_id=None, method="draw", prior=label, seed=None, lr=None, task="", metrics={},
                vectors={0: vectors},
            )
        )
        for label, vectors in evidence.draws.items()
    }  # fmt: skip


def finding_stay(evidence: Evidence, collapse: Mapping[str, Mapping[str, Any]], *, budget: Budget) -> Answer:
    """Finding 1: priors decide where tuned vectors end."""
    title = "Tuned vectors stay near their prior draw"
    prompts = [prompt for prompt in evidence.prompts if prompt.vectors and prompt.draw]
    if len(prompts) < 2:
        missing = "at least two soft or deep prompts whose runs have kept their draws"
        return not_measured(1, title=title, rule=STAY_RULE, missing=missing)
    own = summary(np.array(_own_draw_nearest(prompts), dtype=float), budget=budget)
    measures = CollapseMeasures(evidence)
    ratio = summary([value for prompt in prompts for value in measures.ratios(prompt)], budget=budget)
    stays, is_near = own["low"] > 0.5, ratio["high"] < 1
    labels = [prompt.prior for prompt in prompts]
    numbers = {
        "own_draw_is_nearest": own,
        "moved_over_distance_to_cloud": ratio,
        "by_prior": {
            name: by_label(labels, [collapse[prompt.ref][name] for prompt in prompts], budget=budget)
            for name in ("displacement", "nearest_distance", "mahalanobis")
            if all(name in collapse[prompt.ref] for prompt in prompts)
        },
        "mahalanobis_differs_by_prior": _differs(prompts, collapse, "mahalanobis"),
        "draws": measure_draws(evidence),
    }
    verdict = verdict_of(for_it=stays + is_near, against_it=(not stays) + (not is_near))
    return Answer(number=1, title=title, rule=STAY_RULE, verdict=verdict, numbers=numbers)


def finding_collapse(evidence: Evidence, collapse: Mapping[str, Mapping[str, Any]], *, budget: Budget) -> Answer:
    """Finding 3: collapse onto tokens is not inevitable."""
    title = "Collapse onto existing tokens is not inevitable: it depends on prior and learning rate"
    prompts = [prompt for prompt in evidence.prompts if prompt.ref in collapse]
    if not prompts:
        return not_measured(3, title=title, rule=COLLAPSE_RULE, missing="a soft or deep prompt")
    shares = [float(collapse[prompt.ref]["share_within_radius"]) for prompt in prompts]
    labels, rates = [prompt.prior for prompt in prompts], [f"{prompt.lr or 0:g}" for prompt in prompts]
    open_ones = sum(share < 0.5 for share in shares)
    names = ("share_within_radius", "nearest_cosine", "effective_rank", "mean_pairwise_distance")
    numbers = {
        "n_prompts": len(prompts),
        "n_not_collapsed": open_ones,
        "share_within_radius": summary(shares, budget=budget),
        "by_prior": {name: _table(labels, prompts, collapse, name, budget=budget) for name in names},
        "by_lr": {"share_within_radius": by_label(rates, shares, budget=budget)},
        "share_differs_by_prior": _differs(prompts, collapse, "share_within_radius"),
        "nearest_cosine_differs_by_prior": _differs(prompts, collapse, "nearest_cosine"),
    }
    verdict = verdict_of(for_it=int(open_ones > 0), against_it=int(open_ones == 0))
    return Answer(number=3, title=title, rule=COLLAPSE_RULE, verdict=verdict, numbers=numbers)


def _own_draw_nearest(prompts: Sequence[Tuned]) -> list[bool]:
    """Of each tuned vector, whether among the draws of all prompts at its layer the nearest is its own."""
    found: list[bool] = []
    for prompt in prompts:
        for layer, vectors in prompt.vectors.items():
            others = [other for other in prompts if layer in other.draw]
            if layer not in prompt.draw or len(others) < 2:
                continue
            draws: Floats = np.concatenate([other.draw[layer] for other in others])
            start = sum(len(other.draw[layer]) for other in others[: others.index(prompt)])
            nearest = nearest_tokens(vectors, draws)
            own = np.linalg.norm(vectors.astype(np.float64) - draws[start : start + len(vectors)], axis=1)
            # Several members may share one draw (other learning rates): equal distances count as one's own.
            found += (own <= nearest.distances[:, 0] + 1e-6 * (1 + own)).tolist()
    return found or [False]


def _table(
    labels: Sequence[str], prompts: Sequence[Tuned], collapse: Mapping[str, Mapping[str, Any]], name: str, *, budget: Budget
) -> dict[str, dict[str, float]]:  # fmt: skip
    kept = [
        (label, collapse[prompt.ref][name])
        for label, prompt in zip(labels, prompts, strict=True)
        if name in collapse[prompt.ref]
    ]
    return by_label([label for label, _ in kept], [value for _, value in kept], budget=budget)


def _differs(prompts: Sequence[Tuned], collapse: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, float] | None:
    kept = [prompt for prompt in prompts if name in collapse[prompt.ref]]
    return differs_by_label([prompt.prior for prompt in kept], [collapse[prompt.ref][name] for prompt in kept])
