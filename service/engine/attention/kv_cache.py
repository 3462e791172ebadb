"""Key/value cache of the running rows, and the keys and values of a compiled prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from service.engine.shapes import Float, Tensor
from service.engine.transfers import to_device


@dataclass(frozen=True)
class LayerShape:
    """Shape of the keys and values of one layer."""

    n_kv_heads: int
    d_key: int
    d_value: int
    device: torch.device

    @property
    def n_values(self) -> int:
        return self.n_kv_heads * (self.d_key + self.d_value)


@dataclass(frozen=True)
class KVShape:
    """Shapes of all layers, and the element type."""

    layers: tuple[LayerShape, ...]
    dtype: torch.dtype

    @property
    def bytes_per_token(self) -> int:
        return sum(layer.n_values for layer in self.layers) * self.dtype.itemsize

    @property
    def is_even(self) -> bool:
        """Whether keys and values have the same shape in all layers."""
        shapes = {(layer.n_kv_heads, layer.d_key, layer.d_value) for layer in self.layers}
        return len(shapes) == 1 and all(d_key == d_value for _, d_key, d_value in shapes)


@dataclass(frozen=True, eq=False)
class CompiledPrompt:
    """A prompt as keys `[n_kv_heads, n_virtual, d_key]` and values `[n_kv_heads, n_virtual, d_value]` for each layer.

    A layer with None has no virtual positions: text tokens do not attend to them there, but still have the positions
    ``n_virtual, n_virtual + 1, …``.
    """

    n_virtual: int
    keys: tuple[Float[Tensor, "heads n_virtual d"] | None, ...]
    values: tuple[Float[Tensor, "heads n_virtual dv"] | None, ...]

    def first_visible(self, layer: int) -> int:
        """Index of the first cache entry that text attends to in ``layer``."""
        return 0 if self.keys[layer] is not None else self.n_virtual

    @property
    def hides_somewhere(self) -> bool:
        return self.n_virtual > 0 and any(key is None for key in self.keys)

    @property
    def n_bytes(self) -> int:
        return sum(t.numel() * t.element_size() for t in (*self.keys, *self.values) if t is not None)


class KVCache:
    """Keys and values of the running rows, `[n_slots, n_kv_heads, width, d]` per layer, allocated once and written in place.

    Entry p of a slot belongs to the token at position p, virtual positions first. Memory is zeroed when allocated: a
    masked entry is multiplied by 0, which must not give NaN.
    """

    def __init__(self, shape: KVShape) -> None:
        self.shape = shape
        self.n_slots = 0
        self.width = 0
        self.keys: list[Tensor] = [self._zeros(layer, layer.d_key, 0, 0) for layer in shape.layers]
        self.values: list[Tensor] = [self._zeros(layer, layer.d_value, 0, 0) for layer in shape.layers]

    def _zeros(self, layer: LayerShape, d: int, n_slots: int, width: int) -> Tensor:
        return torch.zeros(n_slots, layer.n_kv_heads, width, d, dtype=self.shape.dtype, device=layer.device)

    def bytes_for(self, n_slots: int, width: int) -> int:
        return n_slots * width * self.shape.bytes_per_token

    @property
    def n_bytes(self) -> int:
        return self.bytes_for(self.n_slots, self.width)

    def resize(self, n_slots: int, width: int, *, keep: Sequence[int]) -> None:
        """Change the size; slot i keeps its first ``keep[i]`` entries. One layer at a time, to limit the peak."""
        for tensors in (self.keys, self.values):
            for i, layer in enumerate(self.shape.layers):
                old = tensors[i]
                new = self._zeros(layer, old.shape[-1], n_slots, width)
                for slot, length in enumerate(keep):
                    new[slot, :, :length] = old[slot, :, :length]
                tensors[i] = new
        self.n_slots, self.width = n_slots, width

    def load_prompts(self, slots: Mapping[CompiledPrompt, Sequence[int]]) -> None:
        """Copy compiled prompts to the front of their slots: this is the whole cost of selecting a prompt."""
        indices = [torch.tensor(rows) for rows in slots.values()]
        placed: dict[torch.device, list[Tensor]] = {}
        for layer, shape in enumerate(self.shape.layers):
            if shape.device not in placed:
                placed[shape.device] = to_device(shape.device, indices)
            for prompt, rows in zip(slots, placed[shape.device], strict=True):
                key, value = prompt.keys[layer], prompt.values[layer]
                if key is not None and value is not None:
                    self.keys[layer][:, :, : prompt.n_virtual][rows] = key
                    self.values[layer][:, :, : prompt.n_virtual][rows] = value

    def move(self, source: int, target: int, *, length: int) -> None:
        """Copy the first ``length`` entries of a slot over another's."""
        for tensors in (self.keys, self.values):
            for tensor in tensors:
                tensor[target, :, :length] = tensor[source, :, :length]

    def write(self, layer: int, slots: Tensor, positions: Tensor, key: Tensor, value: Tensor) -> None:
        """Store new tokens' key and value `[tokens, n_kv_heads, d]` at (slot, position)."""
        self.keys[layer][slots, :, positions] = key
        self.values[layer][slots, :, positions] = value
