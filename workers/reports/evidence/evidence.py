"""What the findings are measured on: tuned prompts with their past, clouds of states, walks."""

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
class Tuned:
    """One tuned prompt.

    vectors, draw: `[n_virtual, d_model]` by layer, 0 being the embeddings; a draw is empty where none was kept.
    snapshots: `[n_snapshots, n_virtual, d_model]` by layer. curve: (step, validation loss), in order.
    log_density: mean log p of posterior vectors and of draw vectors under the prior that the draw is from, nats a vector.
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
    def manner(self) -> str:
        """Prompts whose vectors may be compared: tuned by one method at one rate, for whatever task."""
        return self.method + ("" if self.lr is None else f" at {self.lr:g}")

    @property
    def group(self) -> str:
        """Prompts whose scores may be compared: tuned by one method for one task at one rate."""
        return f"{self.method} for {self.task}" + ("" if self.lr is None else f" at {self.lr:g}")


@dataclass(frozen=True, kw_only=True)
class TaskCloud:
    """A dataset's states at one layer. texts: `[n_texts, d_model]` means; tokens: `[n_tokens, d_model]`, a sample."""

    texts: Floats
    tokens: Floats


@dataclass(frozen=True, kw_only=True)
class Wording:
    """What a dataset's texts are made of. counts: `[n_tokens]`, of each token of the vocabulary; share_letters: of what is no
    blank, the part that is letters."""

    counts: npt.NDArray[np.int64]
    share_letters: float


@dataclass(frozen=True, kw_only=True)
class Walks:
    """Generations of one dataset: by layer, a list of `[n_tokens, d_model]`. part: which tokens they are of."""

    dataset: str
    part: str
    by_layer: Mapping[int, Sequence[Floats]]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All of it.

    clouds: by dataset, then layer. vocabulary: `[n_tokens, d_model]`; tokens: their texts. walks, wordings: by dataset.
    draws: `[n, d_model]` of priors at the embeddings, by label, that nothing was tuned from.
    """

    layers: Sequence[int]
    prompts: Sequence[Tuned]
    clouds: Mapping[str, Mapping[int, TaskCloud]]
    vocabulary: Floats
    tokens: Sequence[str]
    walks: Sequence[Walks]
    draws: Mapping[str, Floats] = field(default_factory=dict)
    wordings: Mapping[str, Wording] = field(default_factory=dict)

    def surroundings(self, layer: int) -> Floats:
        """What a prompt's vectors at a layer are among: the vocabulary at 0, tokens' states of all datasets above."""
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
