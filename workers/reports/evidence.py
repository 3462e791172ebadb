"""What the findings are measured on: tuned prompts with their past, clouds of states, walks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


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
    def group(self) -> str:
        """Prompts that may be compared: tuned by one method for one task."""
        return f"{self.method} for {self.task}"


@dataclass(frozen=True, kw_only=True)
class TaskCloud:
    """A dataset's states at one layer. texts: `[n_texts, d_model]` means; tokens: `[n_tokens, d_model]`, a sample."""

    texts: Floats
    tokens: Floats


@dataclass(frozen=True, kw_only=True)
class Walks:
    """Generations of one dataset: by layer, a list of `[n_tokens, d_model]`. part: which tokens they are of."""

    dataset: str
    part: str
    by_layer: Mapping[int, Sequence[Floats]]


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """All of it.

    clouds: by dataset, then layer. vocabulary: `[n_tokens, d_model]`; tokens: their texts. walks: by dataset.
    draws: `[n, d_model]` of priors at the embeddings, by label, that nothing was tuned from.
    """

    layers: Sequence[int]
    prompts: Sequence[Tuned]
    clouds: Mapping[str, Mapping[int, TaskCloud]]
    vocabulary: Floats
    tokens: Sequence[str]
    walks: Sequence[Walks]
    draws: Mapping[str, Floats] = field(default_factory=dict)

    def surroundings(self, layer: int) -> Floats:
        """What a prompt's vectors at a layer are among: the vocabulary at 0, tokens' states of all datasets above."""
        if layer == 0:
            return self.vocabulary
        return np.concatenate([clouds[layer].tokens for clouds in self.clouds.values()])


def prior_label(prior: Mapping[str, Any] | None) -> str:
    """A prior in a few words, e.g. ``gaussian(activations)``; prompts without one are ``unknown``."""
    if not prior:
        return "unknown"
    kind = str(prior.get("kind", "unknown"))
    fit = prior.get("fit")
    if isinstance(fit, Mapping):
        source = "vocabulary" if fit.get("embeddings") == "vocabulary" else next(iter(fit), "")
        kind += f"({'token embeddings' if source == 'embeddings' else source})"
    if kind == "isotropic" and prior.get("std") not in (None, 0.02):
        kind += f"({prior['std']:g})"
    if prior.get("kind") == "gaussian" and prior.get("scale") not in (None, 1.0):
        kind += f"×{prior['scale']:g}"
    return kind
