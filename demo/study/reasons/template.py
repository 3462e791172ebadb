"""Whether the chat template, which an instruction-tuned model expects, changes the clusters of tasks."""

from itertools import combinations
from typing import Any, Final

import numpy as np
from promptatlas import Client
from promptatlas.types import ModelCard

from demo.study.plan import Size, StudyPlan
from demo.study.reasons.states import Array, means_at, read_states, texts_of
from demo.tour.model_text import ModelText
from workers.analysis.separation import clusters, energy_distance, silhouette
from workers.reports.findings.task_clusters import MIN_SEPARATION

MAX_TEXTS: Final = 60
SAMPLES: Final = 199
LEVEL: Final = 0.05
MARK: Final = "a message"


def prefix_of(text: ModelText) -> str:
    """What the chat template puts in front of a user's message; empty without a template."""
    return text.chat(MARK).partition(MARK)[0]


def measure_template(
    client: Client, *, plan: StudyPlan, card: ModelCard, size: Size, prefix: str
) -> list[dict[str, Any]]:
    """For each pair of datasets, layer, and form of the text (``bare`` or ``template``): separation of the texts' mean states.

    The means are over the same tokens in both forms, those of the text without its first one. Empty without a prefix.
    """
    if not prefix:
        return []
    layers = plan.chat_layers(card)
    n = min(MAX_TEXTS, size.n_report)
    rows: list[dict[str, Any]] = []
    for form, front in (("bare", ""), ("template", prefix)):
        means = {}
        for dataset in plan.datasets:
            texts = texts_of(client, dataset=dataset, split="test", n=n)
            states = read_states(client, model=plan.model, texts=texts, layers=layers, prefix=front)
            means[dataset] = {layer: means_at(states, layer=layer) for layer in layers}
        for first, second in combinations(plan.datasets, 2):
            rows += [
                {
                    "pair": [first, second],
                    "layer": layer,
                    "form": form,
                    **separation(means[first][layer], means[second][layer]),
                }
                for layer in layers
            ]
    return rows


def separation(first: Array, second: Array) -> dict[str, Any]:
    """Silhouette with its interval, agreement of unsupervised clusters, and whether the rule of finding 5 calls them separate."""
    points, labels = np.concatenate([first, second]), [0] * len(first) + [1] * len(second)
    width = silhouette(points, labels, samples=SAMPLES)
    agreement = clusters(points, labels).agreement
    p_value = energy_distance(first, second, permutations=SAMPLES).p_value
    apart = bool(max(agreement, width.value) >= MIN_SEPARATION and p_value < LEVEL)
    return {"silhouette": width.to_json(), "agreement": agreement, "p_value": p_value, "apart": apart}
