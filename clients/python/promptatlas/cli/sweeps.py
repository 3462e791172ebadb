"""Division of a sweep's members over several runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

Axis = Literal["seeds", "priors", "rates"]

Item = TypeVar("Item")


def divide_sweep(spec: Mapping[str, Any], n_runs: int) -> list[dict[str, Any]]:
    """Specs of at most ``n_runs`` runs that together have the members of ``spec``, each once, with the same arithmetic.

    The longest of seeds, priors and learning rates is divided. Where the names of the prompts would otherwise differ from
    those of one run or be equal in two runs, the spec has another ``name``.
    """
    axes: dict[Axis, list[Any]] = {
        "seeds": _seeds(spec),
        "priors": list(spec.get("priors") or []),
        "rates": _rates(spec),
    }
    # The first of the longest: the names of the prompts do not depend on the number of seeds.
    axis: Axis = max(axes, key=lambda name: len(axes[name]))
    n = min(n_runs, len(axes[axis]))
    if n <= 1 or spec.get("posterior") is not None:
        return [dict(spec)]
    found = []
    for number, items in enumerate(_cut(axes[axis], n), 1):
        part = {**axes, axis: items}
        found.append(_with(spec, part, name=_name(spec, axes, part, axis=axis, number=number)))
    return found


def _name(
    spec: Mapping[str, Any], axes: Mapping[Axis, list[Any]], part: Mapping[Axis, list[Any]], *, axis: Axis, number: int
) -> str | None:
    name = spec.get("name")
    if name is None:
        return None  # prompts are named by their run
    kinds = Counter(prior.get("kind") for prior in axes["priors"])
    is_numbered = any(count > 1 for count in kinds.values())
    if axis == "priors" and is_numbered:
        return f"{name}-{number}"
    rate = f"-lr{float(part['rates'][0])!r}" if len(axes["rates"]) > 1 and len(part["rates"]) == 1 else ""
    if all(len(items) == 1 for items in part.values()):
        return f"{name}-{part['priors'][0].get('kind')}-{part['seeds'][0]}{rate}"
    return f"{name}{rate}"


def _with(spec: Mapping[str, Any], part: Mapping[Axis, list[Any]], *, name: str | None) -> dict[str, Any]:
    rates = part["rates"]
    changed = {**spec, "seeds": part["seeds"], "priors": part["priors"]}
    if "lr" in (spec.get("optimizer") or {}):
        changed["optimizer"] = {**spec["optimizer"], "lr": rates[0] if len(rates) == 1 else rates}
    return changed if name is None else {**changed, "name": name}


def _seeds(spec: Mapping[str, Any]) -> list[Any]:
    return list(spec.get("seeds") or [0])


def _rates(spec: Mapping[str, Any]) -> list[Any]:
    rate = (spec.get("optimizer") or {}).get("lr")
    return list(rate) if isinstance(rate, list) else [rate]


def _cut(items: Sequence[Item], parts: int) -> list[list[Item]]:
    """Consecutive lists of nearly equal size."""
    bounds = [i * len(items) // parts for i in range(parts + 1)]
    return [list(items[bounds[i] : bounds[i + 1]]) for i in range(parts)]
