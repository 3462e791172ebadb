"""Public description of a hosted model. Torch-free."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ModelCard:
    """Public description of a hosted model.

    Attributes:
        dtype_reason: why this dtype was chosen.
        attention: the attention implementation.
        sites: names of its sites and of the modules whose output has one row per token.
        has_equal_layers: keys and values have the same shape in all layers, as a prefix prompt requires.
    """

    name: str
    architecture: str
    n_layers: int
    d_model: int
    n_heads: int
    n_kv_heads: int
    d_head: int
    vocab_size: int
    n_positions: int
    dtype: str
    dtype_reason: str
    device: str
    revision: str
    attention: str
    sites: tuple[str, ...]
    has_chat_template: bool
    versions: dict[str, str]
    has_equal_layers: bool = True
