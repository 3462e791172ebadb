"""Files of a trainer's state: tensors as safetensors, numbers as JSON. Loading restores every bit; nothing is pickled."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict
from typing import Any

import safetensors.torch

from service.engine.shapes import Tensor
from service.errors import InvalidRequest
from workers.tuning.training.member import MemberTraining
from workers.tuning.training.settings import TuneSettings

NUMBERS, TENSORS = "trainer.json", "trainer.safetensors"
VERSION = 1
ADDED = {"posterior": None, "n_frozen": 0}
"""Settings that states of earlier versions lack, with the values that they imply. New states leave these values out too."""
SCALARS = ("status", "step", "scale", "n_failures", "best_step", "n_without_progress")


def save_state(
    members: Sequence[MemberTraining], *, step_number: int, settings: TuneSettings, n_train: int
) -> dict[str, bytes]:
    """The state of all members as two files."""
    numbers = {
        **_identity(members, settings=settings, n_train=n_train),
        "step_number": step_number,
        "states": [_scalars(member) for member in members],
    }
    tensors = {f"{i}/{name}": t for i, member in enumerate(members) for name, t in _tensors(member).items()}
    return {
        NUMBERS: json.dumps(numbers, allow_nan=False).encode(),
        TENSORS: safetensors.torch.save({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}),
    }


def load_state(
    files: Mapping[str, bytes], members: Sequence[MemberTraining], *, settings: TuneSettings, n_train: int
) -> int:
    """Restore the members from the files. Returns the number of completed updates.

    Raises:
        InvalidRequest: the state belongs to other members, settings or examples.
    """
    numbers = json.loads(files[NUMBERS])
    expected = json.loads(json.dumps(_identity(members, settings=settings, n_train=n_train)))
    for key, value in expected.items():
        if numbers.get(key) != value:
            raise InvalidRequest(
                f"the state belongs to another training: expected {key} {value}, got {numbers.get(key)}."
            )
    tensors = safetensors.torch.load(files[TENSORS])
    by_member: list[dict[str, Tensor]] = [{} for _ in members]
    for name, tensor in tensors.items():
        index, _, rest = name.partition("/")
        by_member[int(index)][rest] = tensor
    for member, scalars, found in zip(members, numbers["states"], by_member, strict=True):
        _restore(member, scalars, found)
    return int(numbers["step_number"])


def join_states(parts: Sequence[Mapping[str, bytes]]) -> dict[str, bytes]:
    """The state of a training of the members of all parts, in order, from the state of each part.

    The parts must have the same settings and examples. Parts in which all members stopped early may have fewer steps.
    """
    numbers = [json.loads(part[NUMBERS]) for part in parts]
    whole = {
        **numbers[0],
        "members": [member for own in numbers for member in own["members"]],
        "step_number": max(int(own["step_number"]) for own in numbers),
        "states": [state for own in numbers for state in own["states"]],
    }
    tensors: dict[str, Tensor] = {}
    n_before = 0
    for own, part in zip(numbers, parts, strict=True):
        for name, tensor in safetensors.torch.load(part[TENSORS]).items():
            index, _, rest = name.partition("/")
            tensors[f"{n_before + int(index)}/{rest}"] = tensor
        n_before += len(own["members"])
    return {NUMBERS: json.dumps(whole, allow_nan=False).encode(), TENSORS: safetensors.torch.save(tensors)}


def _identity(members: Sequence[MemberTraining], *, settings: TuneSettings, n_train: int) -> dict[str, Any]:
    described = asdict(settings)
    return {
        "version": VERSION,
        "settings": {name: value for name, value in described.items() if value != ADDED.get(name, MISSING)},
        "members": [{"name": m.member.name, "lr": m.member.lr, "seed": m.member.seed} for m in members],
        "n_train": n_train,
    }


def _scalars(member: MemberTraining) -> dict[str, Any]:
    best_loss = member.best_loss if math.isfinite(member.best_loss) else None
    return {**{name: getattr(member, name) for name in SCALARS}, "best_loss": best_loss, "n_good": len(member.good)}


def _tensors(member: MemberTraining) -> dict[str, Tensor]:
    found = {f"now/{name}": t for name, t in member.optimiser.tensors().items()}
    found |= {f"constant/{name}": t for name, t in member.parameters.constants.items()}
    found |= {f"good.{i}/{name}": t for i, good in enumerate(member.good) for name, t in good.items()}
    found |= {f"best/{name}": t for name, t in (member.best or {}).items()}
    found |= {f"snapshot.{step}/{name}": t for step, copy in member.snapshots.items() for name, t in copy.items()}
    return found


def _restore(member: MemberTraining, scalars: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        parts.setdefault(part, {})[rest] = tensor
    member.optimiser.load(parts["now"])
    for name, constant in member.parameters.constants.items():
        constant.copy_(parts["constant"][name])
    member.good = [parts[f"good.{i}"] for i in range(scalars["n_good"])]
    member.best = parts.get("best")
    snapshots = {int(part.split(".")[1]): copy for part, copy in parts.items() if part.startswith("snapshot.")}
    member.snapshots = dict(sorted(snapshots.items()))
    for name in SCALARS:
        setattr(member, name, scalars[name])
    member.best_loss = scalars["best_loss"] if scalars["best_loss"] is not None else math.inf
