"""What a kind of prompt is, apart from any framework: names and shapes of its tensors, its layers, where its vectors lie.

One :class:`PromptForm` a kind. Types, store, planning, API, engine and SDK read these, so that none of them lists kinds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal, Protocol

from promptatlas.types.wire import RequestBody

Where = Literal["local", "carried"]

N_VIRTUAL = None
"""In a shape: the axis of the virtual positions."""

Shape = tuple[int | None, ...]


class ModelShape(Protocol):
    """The sizes of a base model that tensors of prompts depend on. n_kv_heads, d_head: of every layer alike."""

    @property
    def n_layers(self) -> int: ...
    @property
    def d_model(self) -> int: ...
    @property
    def n_kv_heads(self) -> int: ...
    @property
    def d_head(self) -> int: ...


class TuningMethod(RequestBody):
    """Common part of the methods of ``tune``: what is trained."""

    @property
    def n_positions(self) -> int:
        """Virtual positions that the prompts take in front of a text."""
        return int(getattr(self, "n_virtual", 0))

    @property
    def chosen_layers(self) -> list[int] | None:
        """Layers as requested, negative ones from the end; None where the method chooses none."""
        return getattr(self, "layers", None)

    @property
    def chosen_where(self) -> Where | None:
        """``local`` or ``carried``; None where the method has no such choice."""
        return getattr(self, "where", None)


class PromptForm(ABC):
    """One kind of prompt.

    Attributes:
        kind: its name on the wire, and of its tensors: ``{kind}``, or ``{kind}.{layer}`` each where ``is_layered``.
        method: the fields of ``tune`` for it.
        wheres: values of ``where``, the default first; empty: it has none.
        is_layered: it has one tensor for each of some layers.
        has_vectors: its tensors hold vectors of the residual stream, which have neighbours, priors and a place on maps.
        needs_equal_layers: it fits only models whose layers have keys and values of one shape.
        drawn_as: the kind whose vectors most priors draw for it. A prefix is compiled from soft vectors.
        why_no_vectors: a sentence for clients that ask for the vectors of a kind without any.
    """

    kind: ClassVar[str]
    method: ClassVar[type[TuningMethod]]
    wheres: ClassVar[tuple[Where, ...]] = ()
    is_layered: ClassVar[bool] = False
    has_vectors: ClassVar[bool] = True
    needs_equal_layers: ClassVar[bool] = False
    drawn_as: ClassVar[str]
    why_no_vectors: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        if "drawn_as" not in vars(cls) and "kind" in vars(cls):
            cls.drawn_as = cls.kind

    @abstractmethod
    def shape(self, base: ModelShape) -> Shape:
        """Shape of each tensor; :data:`N_VIRTUAL` at the axis of virtual positions, if there is one."""

    def state_layer(self, layer: int | None) -> int:
        """Number of blocks below the residual stream that a tensor's vectors lie in; ``layer`` of an unlayered kind: None."""
        return 0 if layer is None else layer

    def layer_with_state(self, state_layer: int) -> int | None:
        """The inverse of ``state_layer``: the layer of the tensor whose vectors lie there; None for an unlayered kind."""
        if not self.is_layered:
            return None
        return state_layer - self.state_layer(0)

    def layers_with_states(self, own: Sequence[int] | None, *, where: str | None, wanted: Iterable[int]) -> list[int]:
        """Of the ``wanted`` state layers, those where a prompt has vectors, or states that its vectors become.

        Args:
            own: the prompt's layers; None for an unlayered kind.
        """
        there = {self.state_layer(layer) for layer in own or (None,)}
        return [layer for layer in wanted if layer in there]

    # --- derived, the same for every kind ---

    @property
    def takes_positions(self) -> bool:
        """Whether it takes virtual positions in front of a text."""
        return self.virtual_axis is not None

    def tensor_name(self, layer: int | None) -> str:
        """Name of the tensor of a layer, or of the only tensor."""
        return self.kind if layer is None else f"{self.kind}.{layer}"

    def layer_of(self, name: str) -> int | None:
        """Layer in a tensor's name; None for the only tensor. ValueError: it is no name of this kind."""
        if not self.is_layered:
            if name != self.kind:
                raise ValueError(f"expected the tensor {self.kind!r}, got {name!r}")
            return None
        kind, _, number = name.partition(".")
        if kind != self.kind or not is_layer_number(number):
            raise ValueError(f"expected a tensor {self.kind}.<layer>, got {name!r}")
        return int(number)

    def owns(self, names: Iterable[str]) -> bool:
        """Whether these are names of the tensors of one prompt of this kind."""
        names = set(names)
        try:
            layers = [self.layer_of(name) for name in names]
        except ValueError:
            return False
        return bool(layers) and (self.is_layered or len(layers) == 1)

    def layers_of(self, names: Iterable[str]) -> tuple[int, ...]:
        """Layers that tensors of these names are of, ascending; empty for an unlayered kind."""
        return tuple(sorted(layer for name in names if (layer := self.layer_of(name)) is not None))

    def fixed_layers(self, base: ModelShape) -> tuple[int, ...] | None:
        """Layers of an unlayered kind in its manifest: all, where its one tensor has something in each; else None."""
        return None

    def n_virtual_of(self, shape: Sequence[int], *, base: ModelShape) -> int:
        """Virtual positions of a tensor of this shape; ValueError if it is not the kind's shape on ``base``."""
        wanted = self.shape(base)
        fits = len(shape) == len(wanted) and all(w in (N_VIRTUAL, s) for w, s in zip(wanted, shape, strict=True))
        if not fits:
            raise ValueError(f"expected shape {self.shape_text(base)}, got {list(shape)}")
        return self.positions_in(shape)

    def positions_in(self, shape: Sequence[int]) -> int:
        """Virtual positions of a tensor whose shape is the kind's."""
        axis = self.virtual_axis
        return 0 if axis is None else shape[axis]

    @property
    def virtual_axis(self) -> int | None:
        """Axis of the virtual positions in each tensor; None: it takes no positions."""
        shape = self.shape(_ANY_MODEL)
        return shape.index(N_VIRTUAL) if N_VIRTUAL in shape else None

    def full_shape(self, base: ModelShape, *, n_virtual: int) -> tuple[int, ...]:
        """Shape of each tensor of a prompt with ``n_virtual`` positions."""
        return tuple(n_virtual if size is N_VIRTUAL else size for size in self.shape(base))

    def shape_text(self, base: ModelShape) -> str:
        """The shape in words, e.g. ``[n_virtual, 64]``."""
        return f"[{', '.join('n_virtual' if size is N_VIRTUAL else str(size) for size in self.shape(base))}]"

    def n_vectors(self, n_virtual: int) -> int:
        """Vectors in each tensor of a kind that has vectors: one for each position, or one in all."""
        return n_virtual if self.takes_positions else 1

    def n_values(self, base: ModelShape, *, n_virtual: int, layers: Sequence[int] | None) -> int:
        """Numbers in all tensors of a prompt together."""
        n_values = len(layers) if self.is_layered and layers else 1
        for size in self.full_shape(base, n_virtual=n_virtual):
            n_values *= size
        return n_values


class _AnyModel:
    """Sizes for questions about a shape that do not depend on them."""

    n_layers = d_model = n_kv_heads = d_head = 1


_ANY_MODEL = _AnyModel()


def is_layer_number(text: str) -> bool:
    """Whether ``text`` is a layer as names of tensors have it: decimal digits without leading zeros."""
    return text.isascii() and text.isdecimal() and len(text) <= 9 and (text == "0" or text[0] != "0")
