"""A model card for tests of plans and budgets."""

from __future__ import annotations

from typing import Any

from promptatlas.types import ModelCard


def card(*, n_layers: int = 30, d_model: int = 576) -> ModelCard:
    """A card with the sizes that plans read, and no other fields."""
    fields: dict[str, Any] = {"id": "m", "n_layers": n_layers, "d_model": d_model, "n_positions": 512, "vocab_size": 97}
    return ModelCard.model_construct(**fields)
