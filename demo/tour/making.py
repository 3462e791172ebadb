"""Prompts of every kind, made without training from one header line, by asking the service for the line's own states.

The header line is what the demo model was taught to do a task under. Typed as text it stands in front of a question;
as a prompt it is the same line at another depth: token embeddings (soft), states entering some layers (deep), or keys
and values (prefix). Nothing here reads the model's weights.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast

import numpy as np
import numpy.typing as npt
from promptatlas import ActivationCache, Client
from promptatlas.types import ModelCard

Floats = npt.NDArray[np.float32]

CARRIED_FROM: Final = 1
"""Layer at which the carried prompt's vectors enter."""
LOCAL_LAYERS: Final = (1, 2)
"""The only layers that see the local prompt."""


@dataclass(frozen=True)
class MadePrompt:
    """A prompt to upload, and what it is in words."""

    name: str
    meaning: str
    tensors: dict[str, Floats] = field(repr=False)
    where: Literal["local", "carried"] | None = None


@dataclass(frozen=True)
class Rotary:
    """The model's rotary position embedding, by which keys are turned before they are cached."""

    theta: float

    @classmethod
    def of_model(cls, folder: Path) -> "Rotary":
        """As the model's configuration has it."""
        config = json.loads((folder / "config.json").read_text())
        return cls(float(config["rope_parameters"]["rope_theta"]))

    def turn(self, keys: Floats) -> Floats:
        """Keys `[n_kv_heads, n_tokens, d_head]` of tokens at positions 0, 1, … as they stand in a cache."""
        n_tokens, d_head = keys.shape[1:]
        half = d_head // 2
        angles = np.arange(n_tokens)[:, None] * self.theta ** (-np.arange(half) / half)[None, :]
        cosine, sine = (np.tile(wave(angles), 2).astype(np.float32) for wave in (np.cos, np.sin))
        turned = np.concatenate([-keys[..., half:], keys[..., :half]], axis=-1)
        return (keys * cosine + turned * sine).astype(np.float32)


def make_prompts(client: Client, card: ModelCard, *, header: str, rotary: Rotary, seed: int) -> tuple[MadePrompt, ...]:
    """One prompt of each kind out of `header`, and one of noise to compare with."""
    projections = [f"model.layers.{i}.self_attn.{part}_proj" for i in range(card.n_layers) for part in "kv"]
    sites = ["embed", "resid_pre", *projections]
    with client.activations.get(model=card.id, inputs=[header], sites=sites) as states:
        embedded = np.array(states["embed"])
        entering = [np.array(states["resid_pre", i]) for i in range(card.n_layers)]
        prefix = _prefix(states, card=card, rotary=rotary)
    noise = np.random.default_rng(seed).normal(embedded.mean(), embedded.std(), embedded.shape).astype(np.float32)
    carried = {f"deep.{CARRIED_FROM}": entering[CARRIED_FROM]}
    local = {f"deep.{i}": entering[i] for i in LOCAL_LAYERS}
    return (
        MadePrompt("header-soft", "the header's token embeddings", {"soft": embedded}),
        MadePrompt("header-prefix", "the header's keys and values in every layer", {"prefix": prefix}),
        MadePrompt("header-carried", f"its states entering layer {CARRIED_FROM}, run on upwards", carried, "carried"),
        MadePrompt("header-local", f"its states, seen in layers {_listed(LOCAL_LAYERS)} only", local, "local"),
        MadePrompt("noise", f"random vectors of the embeddings' spread (seed {seed})", {"soft": noise}),
    )


def _prefix(states: ActivationCache, *, card: ModelCard, rotary: Rotary) -> Floats:
    """`[n_layers, 2, n_kv_heads, n_virtual, d_head]`."""
    layers = []
    for i in range(card.n_layers):
        keys = rotary.turn(_by_head(states[f"model.layers.{i}.self_attn.k_proj"], card=card))
        values = _by_head(states[f"model.layers.{i}.self_attn.v_proj"], card=card)
        layers.append(np.stack([keys, values]))
    return np.stack(layers).astype(np.float32)


def _by_head(projected: npt.NDArray[np.generic], *, card: ModelCard) -> Floats:
    """`[n_tokens, n_kv_heads · d_head]` → `[n_kv_heads, n_tokens, d_head]`."""
    by_head = projected.reshape(len(projected), card.n_kv_heads, -1).transpose(1, 0, 2)
    return cast(Floats, np.ascontiguousarray(by_head, dtype=np.float32))


def _listed(numbers: tuple[int, ...]) -> str:
    return " and ".join(map(str, numbers))
