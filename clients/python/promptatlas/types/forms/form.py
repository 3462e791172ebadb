"""Base class of prompt forms: names and shapes of a kind's tensors, its layers, and the places of its vectors.

Each kind has a :class:`PromptForm`, which needs no tensor library. All other code reads the forms instead of listing kinds.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import ClassVar, Literal, Protocol

from promptatlas.types.wire import RequestBody

Where = Literal["local", "carried"]

N_VIRTUAL = None
"""Marks the axis of the virtual positions in a shape."""

Shape = tuple[int | None, ...]


class ModelShape(Protocol):
    """Sizes of a base model that prompt tensors depend on. n_kv_heads, d_head: the same in all layers."""

    @property
    def n_layers(self) -> int: ...
    @property
    def d_model(self) -> int: ...
    @property
    def n_kv_heads(self) -> int: ...
    @property
    def d_head(self) -> int: ...


class TuningMethod(RequestBody):
    """Base class of the methods of ``tune``, which say what is trained."""

    @property
    def n_positions(self) -> int:
        """Number of virtual positions in front of a text."""
        return int(getattr(self, "n_virtual", 0))

    @property
    def n_untrained(self) -> int:
        """Number of first virtual positions that keep their initial values."""
        return int(getattr(self, "n_frozen", 0))

    @property
    def chosen_layers(self) -> list[int] | None:
        """Layers as requested, negative ones from the end; None if the method has no layers."""
        return getattr(self, "layers", None)

    @property
    def chosen_where(self) -> Where | None:
        """``local`` or ``carried``; None if the method has no such choice."""
        return getattr(self, "where", None)


class PromptForm(ABC):
    """One kind of prompt.

    Attributes:
        kind: name on the wire and of the tensors: ``{kind}`` or, if ``is_layered``, ``{kind}.{layer}``.
        wheres: values of ``where``, the default first; empty if the kind has no such field.
        is_layered: whether there is one tensor for each of some layers.
        has_vectors: whether the tensors hold vectors of the residual stream, which have near tokens, priors and map points.
        needs_equal_layers: whether only models with keys and values of the same shape in all layers fit.
        drawn_as: the kind whose vectors most priors draw. A prefix is compiled from soft vectors.
        why_no_vectors: message for clients that request the vectors of a kind without vectors.
    """

    kind: ClassVar[str]
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
        """Shape of each tensor; :data:`N_VIRTUAL` at the axis of the virtual positions, if any."""

    def state_layer(self, layer: int | None) -> int:
        """Number of blocks before the residual stream that a tensor's vectors belong to. layer: None for an unlayered kind."""
        return 0 if layer is None else layer

    def layer_with_state(self, state_layer: int) -> int | None:
        """Inverse of ``state_layer``: the layer of the tensor with vectors at ``state_layer``; None for an unlayered kind."""
        if not self.is_layered:
            return None
        return state_layer - self.state_layer(0)

    def layers_with_states(self, own: Sequence[int] | None, *, where: str | None, wanted: Iterable[int]) -> list[int]:
        """The ``wanted`` state layers at which a prompt has vectors, or states computed from them.

        Args:
            own: the prompt's layers; None for an unlayered kind.
        """
        layers = {self.state_layer(layer) for layer in own or (None,)}
        return [layer for layer in wanted if layer in layers]

    # --- derived properties, the same for all kinds ---

    @property
    def takes_positions(self) -> bool:
        """Whether prompts have virtual positions in front of a text."""
        return self.virtual_axis is not None

    def tensor_name(self, layer: int | None) -> str:
        """Name of the tensor of ``layer``, or of the only tensor if ``layer`` is None."""
        return self.kind if layer is None else f"{self.kind}.{layer}"

    def layer_of(self, name: str) -> int | None:
        """Layer in a tensor's name; None for an unlayered kind. Raises ValueError if the name is not of this kind."""
        if not self.is_layered:
            if name != self.kind:
                raise ValueError(f"expected the tensor {self.kind!r}, got {name!r}")
            return None
        kind, _, number = name.partition(".")
        if kind != self.kind or not is_layer_number(number):
            raise ValueError(f"expected a tensor {self.kind}.<layer>, got {name!r}")
        return int(number)

    def owns(self, names: Iterable[str]) -> bool:
        """Whether ``names`` are the names of the tensors of one prompt of this kind."""
        names = set(names)
        try:
            layers = [self.layer_of(name) for name in names]
        except ValueError:
            return False
        return bool(layers) and (self.is_layered or len(layers) == 1)

    def layers_of(self, names: Iterable[str]) -> tuple[int, ...]:
        """Layers in the names of tensors, ascending; empty for an unlayered kind."""
        return tuple(sorted(layer for name in names if (layer := self.layer_of(name)) is not None))

    def fixed_layers(self, base: ModelShape) -> tuple[int, ...] | None:
        """``layers`` in manifests of an unlayered kind: all layers if its tensor covers each layer, else None."""
        return None

    def n_virtual_of(self, shape: Sequence[int], *, base: ModelShape) -> int:
        """Number of virtual positions of a tensor with this shape. Raises ValueError if the shape does not fit ``base``."""
        wanted = self.shape(base)
        fits = len(shape) == len(wanted) and all(w in (N_VIRTUAL, s) for w, s in zip(wanted, shape, strict=True))
        if not fits:
            raise ValueError(f"expected shape {self.shape_text(base)}, got {list(shape)}")
        return self.positions_in(shape)

    def positions_in(self, shape: Sequence[int]) -> int:
        """Number of virtual positions of a tensor with a valid shape."""
        axis = self.virtual_axis
        return 0 if axis is None else shape[axis]

    @property
    def virtual_axis(self) -> int | None:
        """Axis of the virtual positions in each tensor; None if the kind has no virtual positions."""
        shape = self.shape(_ANY_MODEL)
        return shape.index(N_VIRTUAL) if N_VIRTUAL in shape else None

    def full_shape(self, base: ModelShape, *, n_virtual: int) -> tuple[int, ...]:
        """Shape of each tensor of a prompt with ``n_virtual`` positions."""
        return tuple(n_virtual if size is N_VIRTUAL else size for size in self.shape(base))

    def shape_text(self, base: ModelShape) -> str:
        """The shape as text, e.g. ``[n_virtual, 64]``."""
        return f"[{', '.join('n_virtual' if size is N_VIRTUAL else str(size) for size in self.shape(base))}]"

    def n_vectors(self, n_virtual: int) -> int:
        """Number of vectors in each tensor of a kind with vectors: one per virtual position, or one in total."""
        return n_virtual if self.takes_positions else 1

    def n_values(self, base: ModelShape, *, n_virtual: int, layers: Sequence[int] | None) -> int:
        """Number of values in all tensors of a prompt."""
        n_values = len(layers) if self.is_layered and layers else 1
        for size in self.full_shape(base, n_virtual=n_virtual):
            n_values *= size
        return n_values


class _AnyModel:
    """Arbitrary sizes, for properties of a shape that do not depend on them."""

    n_layers = d_model = n_kv_heads = d_head = 1


_ANY_MODEL = _AnyModel()


def is_layer_number(text: str) -> bool:
    """Whether ``text`` is a layer number as in tensor names: decimal digits without leading zeros."""
    return text.isascii() and text.isdecimal() and len(text) <= 9 and (text == "0" or text[0] != "0")
