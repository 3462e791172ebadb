"""Memory of a training forward, and the split of members and examples into groups that fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from service.engine.model.hosted_model import HostedModel
from service.hosting.processes.memory import host_memory_bytes
from workers.inputs.examples import EncodedExample
from workers.tuning.packing.batches import Item, cut

# Values kept for the backward pass and computed in it, per output value of the modules in the blocks: 0.9 as measured on
# Llama models.
KEPT_PER_OUTPUT = 1
# Tokens of one forward on a CPU. Measured from 600 to 5,000: more tokens use more memory but are not faster.
CPU_TOKENS = 2400
# Logits and their gradient.
KEPT_PER_LOGIT = 2
# Share of the memory of a run that one forward may use: on a CPU, and on a device after the model's weights.
CPU_SHARE, DEVICE_SHARE = 0.25, 0.5
# Least share, for a model that takes all of its share of a device.
MIN_DEVICE_SHARE = 1 / 16


def forward_bytes(model: HostedModel, *, share: float) -> int:
    """Memory limit of one training forward, in bytes.

    It depends on what the host or the device has, and not on what is free: runs that start together do not all count on the
    same memory, and the split of the examples, and with it the rounding of sums, is the same in every repetition.

    Args:
        share: of the host or the device that this run may use.
    """
    if model.device.type != "cuda":
        return int(CPU_SHARE * share * host_memory_bytes())
    run_bytes = share * torch.cuda.get_device_properties(model.device).total_memory
    return int(_device_bytes(run_bytes, weights_bytes=weights_bytes(model)))


def weights_bytes(model: HostedModel) -> int:
    """Memory of the weights on the model's device; a model on several devices has others elsewhere."""
    parameters = (parameter for parameter in model.module.parameters() if parameter.device == model.device)
    return sum(parameter.numel() * parameter.element_size() for parameter in parameters)


def _device_bytes(run_bytes: float, *, weights_bytes: int) -> float:
    return max(DEVICE_SHARE * (run_bytes - weights_bytes), MIN_DEVICE_SHARE * run_bytes)


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Memory of a forward with gradients, in bytes."""

    bytes_per_token: int
    bytes_per_answer: int

    def within(self, max_bytes: int, *, device: torch.device) -> int:
        """Memory limit of one forward. On a CPU it is lower than ``max_bytes`` if more tokens would not be faster."""
        return min(max_bytes, CPU_TOKENS * self.bytes_per_token) if device.type == "cpu" else max_bytes

    def of(self, examples: Sequence[EncodedExample], *, n_virtual: int) -> int:
        """Memory of one member on these examples, in bytes."""
        n_tokens = n_virtual + sum(example.length for example in examples)
        return n_tokens * self.bytes_per_token + self.bytes_per_answer * sum(len(e.target_ids) for e in examples)


def costs_of(model: HostedModel, *, first_layer: int, gradient_checkpointing: bool) -> Costs:
    """Costs computed from the output widths of all modules in the blocks that run."""
    n_layers = model.architecture.n_layers
    in_all_blocks = sum(math.prod(shape) for path, shape in model.catalogue.widths.items() if _is_in_block(path))
    n_values = in_all_blocks * (n_layers - first_layer) / n_layers
    if gradient_checkpointing:
        n_values = in_all_blocks / n_layers + (n_layers - first_layer) * model.d_model
    return Costs(
        bytes_per_token=int(n_values * KEPT_PER_OUTPUT * model.dtype.itemsize),
        bytes_per_answer=model.catalogue.vocab_size * KEPT_PER_LOGIT * model.dtype.itemsize,
    )


def _is_in_block(path: str) -> bool:
    return any(part.isdecimal() for part in path.split("."))


def group_members(members: Sequence[Item], *, bytes_each: int, max_bytes: int) -> list[list[Item]]:
    """Split members into the fewest groups of nearly equal size that fit ``max_bytes``. A larger member is a group of its own."""
    largest = max(1, max_bytes // max(1, bytes_each))
    return cut(members, parts=math.ceil(len(members) / largest))


def group_examples(
    examples: Sequence[EncodedExample], *, costs: Costs, n_virtual: int, max_bytes: int
) -> list[list[EncodedExample]]:
    """Split examples into consecutive groups of similar size, so that one member on a group fits ``max_bytes``.

    A larger example is a group of its own.
    """
    each = [costs.of([example], n_virtual=0) for example in examples]
    room = max(1, max_bytes - costs.of([], n_virtual=n_virtual))
    even = sum(each) / max(1, math.ceil(sum(each) / room))
    groups: list[list[EncodedExample]] = []
    group_bytes = 0
    for example, n_bytes in zip(examples, each, strict=True):
        if groups and group_bytes + n_bytes <= room and group_bytes + n_bytes / 2 <= even:
            groups[-1].append(example)
            group_bytes += n_bytes
        else:
            groups.append([example])
            group_bytes = n_bytes
    return groups
