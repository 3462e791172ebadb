"""What a prompt's tensors must be for a base model: names, shapes, finite values. numpy only."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from service.errors import InvalidRequest

Kind = Literal["soft", "deep", "prefix"]
Where = Literal["local", "carried"]
Floats = npt.NDArray[np.float32]

_DEEP_NAME = re.compile(r"deep\.(0|[1-9][0-9]{0,8})")
_FLOAT_DTYPES = ("float16", "float32", "float64")


@dataclass(frozen=True, kw_only=True)
class BaseShape:
    """A hosted model, as far as its prompts must know it.

    revision: hash over its weights. n_kv_heads, d_head: of every layer alike. n_positions: longest sequence.
    """

    name: str
    revision: str
    n_layers: int
    d_model: int
    n_kv_heads: int
    d_head: int
    n_positions: int


@dataclass(frozen=True, kw_only=True)
class Checked:
    """Tensors that fit: float32, finite, contiguous, sorted by name. layers: those that have some, None for soft."""

    tensors: Mapping[str, Floats]
    n_virtual: int
    layers: tuple[int, ...] | None


def check_tensors(kind: Kind, *, tensors: Mapping[str, npt.NDArray[Any]], base: BaseShape) -> Checked:
    """Check names, shapes and values of a prompt's tensors against its base model.

    Args:
        tensors: ``soft`` [n_virtual, d_model]; ``deep.{layer}`` the same each; or
            ``prefix`` [n_layers, 2, n_kv_heads, n_virtual, d_head]; float16, float32 or float64.

    Raises:
        InvalidRequest: with what was expected and what came.
    """
    names = sorted(tensors)
    layers: tuple[int, ...] | None = None
    if kind == "deep":
        layers = _deep_layers(names, base=base)
    elif names != [kind]:
        raise InvalidRequest(f"A {kind} prompt holds one tensor, {kind!r}; this one holds {_listed(names)}.")
    elif kind == "prefix":
        layers = tuple(range(base.n_layers))
    counts = {_n_virtual_of(name, tensors[name].shape, kind=kind, base=base) for name in names}
    if len(counts) > 1:
        raise InvalidRequest(f"All layers of a deep prompt must have the same n_virtual; these have {sorted(counts)}.")
    n_virtual = counts.pop()
    if not 1 <= n_virtual < base.n_positions:
        raise InvalidRequest(
            f"n_virtual must be at least 1 and less than the {base.n_positions} positions of {base.name}; "
            f"it is {n_virtual}."
        )
    checked = {name: as_float32(tensors[name], name=name) for name in names}
    return Checked(tensors=checked, n_virtual=n_virtual, layers=layers)


def as_float32(values: npt.NDArray[Any], *, name: str) -> Floats:
    """Contiguous little-endian float32 of the same shape.

    Raises:
        InvalidRequest: the values are no floats, not all finite, or too large for float32.
    """
    if values.dtype.name not in _FLOAT_DTYPES:
        raise InvalidRequest(f"Tensor {name!r} must hold floating-point values; it holds {values.dtype.name}.")
    _require_finite(values, name=name, problem="that are not finite")
    with np.errstate(over="ignore", under="ignore"):
        narrowed = np.ascontiguousarray(values, dtype="<f4")
    _require_finite(narrowed, name=name, problem="too large for float32")
    return narrowed


def expected_shape(kind: Kind, *, base: BaseShape, n_virtual: int | str = "n_virtual") -> str:
    """The shape of a tensor of this kind in words, e.g. ``[n_virtual, 64]``."""
    if kind == "prefix":
        return f"[{base.n_layers}, 2, {base.n_kv_heads}, {n_virtual}, {base.d_head}]"
    return f"[{n_virtual}, {base.d_model}]"


def _n_virtual_of(name: str, shape: tuple[int, ...], *, kind: Kind, base: BaseShape) -> int:
    axis = 3 if kind == "prefix" else 0
    fixed: tuple[int, ...] = (base.d_model,)
    if kind == "prefix":
        fixed = (base.n_layers, 2, base.n_kv_heads, base.d_head)
    if len(shape) != len(fixed) + 1 or shape[:axis] + shape[axis + 1 :] != fixed:
        raise InvalidRequest(
            f"Tensor {name!r} must have shape {expected_shape(kind, base=base)} for {base.name}; it has {list(shape)}."
        )
    return shape[axis]


def _deep_layers(names: list[str], *, base: BaseShape) -> tuple[int, ...]:
    matches = [_DEEP_NAME.fullmatch(name) for name in names]
    if not names or not all(matches):
        raise InvalidRequest(f"A deep prompt holds tensors 'deep.0', 'deep.1', …; this one holds {_listed(names)}.")
    layers = sorted(int(cast("re.Match[str]", match).group(1)) for match in matches)
    if layers[-1] >= base.n_layers:
        raise InvalidRequest(f"{base.name} has layers 0 to {base.n_layers - 1}; the prompt names layer {layers[-1]}.")
    return tuple(layers)


def _require_finite(values: npt.NDArray[Any], *, name: str, problem: str) -> None:
    finite = np.isfinite(values)
    if finite.all():
        return
    first = [int(i) for i in np.argwhere(~finite)[0]]
    n_bad = int(finite.size - np.count_nonzero(finite))
    raise InvalidRequest(f"Tensor {name!r} holds {n_bad} of {finite.size} values {problem}, the first at {first}.")


def _listed(names: list[str]) -> str:
    if not names:
        return "none"
    shown = ", ".join(repr(name[:80]) for name in names[:4])
    return shown + (f" and {len(names) - 4} more" if len(names) > 4 else "")
