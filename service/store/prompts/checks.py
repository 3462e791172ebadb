"""Checks of a prompt's tensors against its base model: names, shapes and finite values. It uses numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from promptatlas.types.forms import FORMS, PromptForm, PromptKind

from service.errors import InvalidRequest

Floats = npt.NDArray[np.float32]

_FLOAT_DTYPES = ("float16", "float32", "float64")


@dataclass(frozen=True, kw_only=True)
class BaseShape:
    """Sizes of a hosted model that its prompts depend on.

    revision: hash of the weights. n_kv_heads, d_head: the same in all layers. n_positions: length of the longest sequence.
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
    """Valid tensors: float32, finite, contiguous, sorted by name. layers: those with tensors; None for soft prompts."""

    tensors: Mapping[str, Floats]
    n_virtual: int
    layers: tuple[int, ...] | None


def check_tensors(kind: PromptKind, *, tensors: Mapping[str, npt.NDArray[Any]], base: BaseShape) -> Checked:
    """Check names, shapes and values of a prompt's tensors against its base model.

    Args:
        tensors: with the names and shapes of the kind's :class:`PromptForm`; float16, float32 or float64.

    Raises:
        InvalidRequest: names, shapes or values are invalid for the base.
    """
    form = FORMS[kind]
    names = sorted(tensors)
    layers = _layers_of(form, names, base=base)
    counts = {_n_virtual_of(name, tensors[name].shape, form=form, base=base) for name in names}
    if len(counts) > 1:
        raise InvalidRequest(
            f"All layers of a {kind} prompt must have the same n_virtual; these have {sorted(counts)}."
        )
    n_virtual = counts.pop()
    if form.takes_positions and not 1 <= n_virtual < base.n_positions:
        raise InvalidRequest(
            f"n_virtual must be at least 1 and less than the {base.n_positions} positions of {base.name}; "
            f"it is {n_virtual}."
        )
    checked = {name: as_float32(tensors[name], name=name) for name in names}
    return Checked(tensors=checked, n_virtual=n_virtual, layers=layers)


def as_float32(values: npt.NDArray[Any], *, name: str) -> Floats:
    """Convert to contiguous little-endian float32.

    Raises:
        InvalidRequest: the values are not floats, not all finite, or too large for float32.
    """
    if values.dtype.name not in _FLOAT_DTYPES:
        raise InvalidRequest(f"Tensor {name!r} must hold floating-point values; it holds {values.dtype.name}.")
    _require_finite(values, name=name, problem="that are not finite")
    with np.errstate(over="ignore", under="ignore"):
        narrowed = np.ascontiguousarray(values, dtype="<f4")
    _require_finite(narrowed, name=name, problem="too large for float32")
    return narrowed


def _n_virtual_of(name: str, shape: tuple[int, ...], *, form: PromptForm, base: BaseShape) -> int:
    try:
        return form.n_virtual_of(shape, base=base)
    except ValueError:
        raise InvalidRequest(
            f"Tensor {name!r} must have shape {form.shape_text(base)} for {base.name}; it has {list(shape)}."
        ) from None


def _layers_of(form: PromptForm, names: list[str], *, base: BaseShape) -> tuple[int, ...] | None:
    if not form.owns(names):
        if form.is_layered:
            example = ", ".join(repr(form.tensor_name(layer)) for layer in (0, 1))
            raise InvalidRequest(f"A {form.kind} prompt holds tensors {example}, …; this one holds {_listed(names)}.")
        raise InvalidRequest(f"A {form.kind} prompt holds one tensor, {form.kind!r}; this one holds {_listed(names)}.")
    if not form.is_layered:
        return form.fixed_layers(base)
    layers = form.layers_of(names)
    if layers[-1] >= base.n_layers:
        raise InvalidRequest(f"{base.name} has layers 0 to {base.n_layers - 1}; the prompt names layer {layers[-1]}.")
    return layers


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
