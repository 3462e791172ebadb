"""Evidence of a report: tuned prompts with their history, clouds of states, trajectories."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from promptatlas.types.priors import Prior
from pydantic import TypeAdapter, ValidationError

Floats = npt.NDArray[np.float32]

_PRIOR: TypeAdapter[Prior] = TypeAdapter(Prior)


@dataclass(frozen=True, kw_only=True)
class TunedPrompt:
    """One tuned prompt.

    vectors, draw: `[n_virtual, d_model]` by layer, 0 being the embeddings; ``draw`` is empty if it was not kept.
    snapshots: `[n_snapshots, n_virtual, d_model]` by layer. curve: (step, validation loss), in order.
    log_density: mean log p, in nats per vector, of tuned and of drawn vectors under the prior of the draw.
    """

    ref: str
    run_id: str | None
    method: str
    prior: str
    seed: int | None
    lr: float | None
    task: str
    metrics: Mapping[str, float]
    vectors: Mapping[int, Floats]
    draw: Mapping[int, Floats] = field(default_factory=dict)
    snapshots: Mapping[int, Floats] = field(default_factory=dict)
    curve: Sequence[tuple[int, float]] = ()
    log_density: Mapping[str, float] = field(default_factory=dict)

    @property
    def method_and_rate(self) -> str:
        """Label of the prompts whose vectors are comparable: same method and learning rate, any task."""
        return self.method + ("" if self.lr is None else f" at {self.lr:g}")

    @property
    def group(self) -> str:
        """Label of the prompts whose scores are comparable: same method, task and learning rate."""
        return f"{self.method} for {self.task}" + ("" if self.lr is None else f" at {self.lr:g}")


@dataclass(frozen=True, kw_only=True)
class TaskCloud:
    """States of a dataset at one layer. texts: means `[n_texts, d_model]`; tokens: a sample `[n_tokens, d_model]`."""

    texts: Floats
    tokens: Floats


@dataclass(frozen=True, kw_only=True)
class TextStatistics:
    """Token counts `[vocab]` of a dataset's texts, and the share of letters among their non-whitespace characters."""

    counts: npt.NDArray[np.int64]
    share_letters: float


@dataclass(frozen=True, kw_only=True)
class Trajectories:
    """Trajectories of one dataset: by layer, a list of `[n_tokens, d_model]`. part: which tokens they cover."""

    dataset: str
    part: str
    by_layer: Mapping[int, Sequence[Floats]]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All evidence of a report.

    clouds: by dataset, then layer. vocabulary: embeddings `[n_tokens, d_model]`; tokens: their texts. draws: `[n, d_model]`
    by label, sampled at the embeddings from priors that no prompt was tuned from.
    """

    layers: Sequence[int]
    prompts: Sequence[TunedPrompt]
    clouds: Mapping[str, Mapping[int, TaskCloud]]
    vocabulary: Floats
    tokens: Sequence[str]
    trajectories: Sequence[Trajectories]
    draws: Mapping[str, Floats] = field(default_factory=dict)
    text_statistics: Mapping[str, TextStatistics] = field(default_factory=dict)

    def cloud_points(self, layer: int) -> Floats:
        """Points of the model's cloud at a layer: the vocabulary at layer 0, token states of all datasets above."""
        if layer == 0:
            return self.vocabulary
        return np.concatenate([clouds[layer].tokens for clouds in self.clouds.values()])


def prior_label(prior: Mapping[str, Any] | None) -> str:
    """Label of a stored prior, e.g. ``gaussian(squad activations)``; ``unknown`` for a prompt without one.

    A prompt that was uploaded may name a prior of an unknown form; its label is the kind alone.
    """
    if not prior:
        return "unknown"
    try:
        return _PRIOR.validate_json(json.dumps(dict(prior))).label
    except (ValidationError, TypeError):
        return str(prior.get("kind", "unknown"))
